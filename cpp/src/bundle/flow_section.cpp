// Keys and ranges of the flow decoder's settings, each said once; reads no file.
#include "bundle/flow_section.h"

#include <string>
#include <type_traits>

namespace parley {

namespace {

using json::OneOf;
using json::Range;

constexpr Range kSize{1, 1e6};
constexpr Range kCount{0, 1e6};
constexpr Range kContextCodes{0, 1024};  // around a chunk: more than a reply has

const OneOf kModes{{"exact", "window", "cached"}};
const OneOf kSolvers{{"midpoint", "euler"}};
const OneOf kSpacings{{"linear", "cosine"}};

// each(key, the caller's, the bundle's, what it may be) for all that a caller may choose.
template <typename Settings, typename Config, typename Each>
void each_setting(Settings& s, Config& c, const Each& each) {
  each("mode", s.mode, c.mode, kModes);
  each("solver", s.solver, c.steps.solver, kSolvers);
  each("spacing", s.spacing, c.steps.spacing, kSpacings);
  each("points", s.points, c.steps.points, Range{2, 1000});
  each("guidance", s.guidance, c.steps.guidance, Range{0, 100});
  each("guided_evaluations", s.guided_evaluations, c.steps.guided_evaluations, Range{0, 2000});
  each("prompt_codes", s.prompt_codes, c.prompt_codes, kCount);
  each("past_codes", s.past_codes, c.past_codes, kContextCodes);
  each("lookahead_codes", s.lookahead_codes, c.lookahead_codes, kContextCodes);
}

template <typename T, typename Rule>
json::Value value_of(const T& wanted, const Rule& rule) {
  json::Value value;
  if constexpr (std::is_enum_v<T>) {
    const auto i = static_cast<std::size_t>(wanted);
    value.kind = json::Kind::string;
    value.string = i < rule.names.size() ? rule.names.begin()[i] : std::to_string(i);
  } else {
    value.kind = json::Kind::number;
    value.number = static_cast<double>(wanted);
    value.is_int = std::is_integral_v<T>;
    if constexpr (std::is_integral_v<T>) value.integer = static_cast<std::int64_t>(wanted);
  }
  return value;
}

std::string names_of_settings() {
  std::string names;
  FlowSettings settings;
  FlowConfig config;
  each_setting(settings, config, [&](const char* key, const auto&, const auto&, const auto&) {
    names += (names.empty() ? "" : ", ") + std::string(key);
  });
  return names;
}

std::string text_of(const json::Value& value) {
  if (value.kind == json::Kind::string) return value.string;
  return value.is_int ? std::to_string(value.integer) : std::to_string(value.number);
}

}  // namespace

void visit(json::Fields& f, FlowSection& section) {
  FlowConfig& c = section.config;
  FlowSettings none;
  each_setting(none, c, [&](const char* key, const auto&, auto& field, const auto& rule) {
    f(key, field, rule);
  });
  f("frames_per_code", c.frames_per_code, kSize)("codes_hz", section.codes_hz, Range{1, 1e6});
  f("z", c.z, kSize)("hidden", c.hidden, kSize);
  f.may("codes_per_run", c.codes_per_run, kContextCodes).may("free_condition", c.free_condition);
  f("latent_mean", c.latent_mean, Range{-1e9, 1e9})("latent_var", c.latent_var, Range{1e-20, 1e9});
}

std::string flow_settings_text(const FlowConfig& config) {
  std::string text;
  FlowSettings none;
  each_setting(none, config, [&](const char* key, const auto&, const auto& used, const auto& rule) {
    text += (text.empty() ? "" : ", ") + std::string(key) + " " + text_of(value_of(used, rule));
  });
  return text;
}

void refuse_flow(const std::string& expected, const std::string& got, const std::string& fix) {
  throw InputError("[bundle.open] expected " + expected + " in the argument flow, got " + got +
                   "; " + fix);
}

FlowSettings parse_flow_settings(std::string_view text) {
  FlowSettings settings;
  if (text.empty()) return settings;
  FlowConfig scratch;
  try {
    const json::Value document = json::parse(text);
    if (document.kind != json::Kind::object)
      refuse_flow("an object of settings", json::name_of(document.kind), "give an object");
    const json::Node node{document, "flow"};
    json::Fields fields(node);
    each_setting(settings, scratch,
                 [&](const char* key, auto& wanted, const auto&, const auto& rule) {
                   fields.may(key, wanted, rule);
                 });
    if (const json::Member* other = fields.not_asked())
      refuse_flow("settings of the bundle's flow section", '"' + other->first + '"',
                  "choose among " + names_of_settings());
  } catch (const json::ParseError& error) {
    const std::string& key = error.place().key;
    refuse_flow(error.expected(), error.got() + (key.empty() ? "" : " (key " + key + ")"),
                "correct the setting");
  }
  return settings;
}

void put_flow_settings(json::Value& document, const FlowSettings& settings) {
  FlowConfig scratch;
  json::Value& section = *document.find("flow");
  each_setting(settings, scratch,
               [&](const char* key, const auto& wanted, const auto&, const auto& rule) {
                 if (wanted) *section.find(key) = value_of(*wanted, rule);
               });
}

}  // namespace parley
