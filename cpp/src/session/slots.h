// Which ids a draw may give: slot plans of a bundle turned into id ranges; knows no logits.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include "session/config.h"

namespace parley {

struct IdRange {
  std::int32_t begin = 0;
  std::int32_t end = 0;
};

// The ranges of one draw: ascending and disjoint.
using Slot = std::vector<IdRange>;

struct Plan {
  std::vector<Slot> slots;
  bool repeats = false;  // the last slot again and again, until enough codes wait
};

// Text ids are those below text_end that are no control token.
inline Slot text_slot(const Vocabulary& vocabulary) {
  std::vector<std::int32_t> control;
  for (const auto& [name, id] : vocabulary.control) control.push_back(id);
  std::sort(control.begin(), control.end());
  Slot slot;
  std::int32_t begin = 0;
  for (std::int32_t id : control) {
    if (id >= vocabulary.text_end) break;
    if (id > begin) slot.push_back({begin, id});
    begin = id + 1;
  }
  if (begin < vocabulary.text_end) slot.push_back({begin, vocabulary.text_end});
  return slot;
}

inline Slot compile_slot(const std::vector<SlotKind>& kinds, const Vocabulary& vocabulary,
                         const DuplexConfig* duplex, std::int32_t vocab_size) {
  Slot slot;
  for (SlotKind kind : kinds) {
    switch (kind) {
      case SlotKind::any:
        return {{0, vocab_size}};
      case SlotKind::text:
        for (IdRange range : text_slot(vocabulary)) slot.push_back(range);
        break;
      case SlotKind::audio:
        slot.push_back({vocabulary.audio_begin, vocabulary.audio_begin + vocabulary.audio_codes});
        break;
      case SlotKind::think:
        slot.push_back({duplex->think, duplex->think + 1});
        break;
      case SlotKind::shift:
        slot.push_back({duplex->shift, duplex->shift + 1});
        break;
      case SlotKind::break_:
        slot.push_back({duplex->break_, duplex->break_ + 1});
        break;
      case SlotKind::text_pad:
        slot.push_back({duplex->text_pad, duplex->text_pad + 1});
        break;
    }
  }
  std::sort(slot.begin(), slot.end(), [](IdRange a, IdRange b) { return a.begin < b.begin; });
  // Kinds may overlap; an id that came twice would be twice as likely.
  Slot disjoint;
  for (IdRange range : slot) {
    if (!disjoint.empty() && range.begin < disjoint.back().end) {
      disjoint.back().end = std::max(disjoint.back().end, range.end);
    } else {
      disjoint.push_back(range);
    }
  }
  return disjoint;
}

inline Plan compile_plan(const SlotPlan& plan, const Vocabulary& vocabulary,
                         const DuplexConfig* duplex, std::int32_t vocab_size) {
  Plan compiled;
  for (const auto& kinds : plan)
    compiled.slots.push_back(compile_slot(kinds, vocabulary, duplex, vocab_size));
  return compiled;
}

}  // namespace parley
