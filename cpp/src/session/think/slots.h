// Which ids a draw may give: slot plans of a bundle turned into id ranges; knows no logits.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

#include "parley/errors.hpp"
#include "parley/events.hpp"
#include "session/config.h"

namespace parley {

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

// The one id of a kind that is no range. Throws BundleError where the vocabulary has none.
inline std::int32_t id_of(SlotKind kind, const Vocabulary& vocabulary) {
  const std::int32_t id = kind == SlotKind::think    ? vocabulary.think
                          : kind == SlotKind::shift  ? vocabulary.shift
                          : kind == SlotKind::break_ ? vocabulary.break_
                                                     : vocabulary.text_pad;
  if (id >= 0) return id;
  throw BundleError(
      "[session.plan] expected a vocabulary with the ids that the bundle's plans of slots draw, "
      "got "
      "one without; export the bundle again");
}

inline Slot compile_slot(const std::vector<SlotKind>& kinds, const Vocabulary& vocabulary,
                         std::int32_t vocab_size) {
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
      case SlotKind::shift:
      case SlotKind::break_:
      case SlotKind::text_pad: {
        const std::int32_t id = id_of(kind, vocabulary);
        slot.push_back({id, id + 1});
        break;
      }
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
                         std::int32_t vocab_size) {
  Plan compiled;
  for (const auto& kinds : plan)
    compiled.slots.push_back(compile_slot(kinds, vocabulary, vocab_size));
  return compiled;
}

}  // namespace parley
