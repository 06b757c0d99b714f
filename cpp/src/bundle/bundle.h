// An opened bundle: its manifest, and the shared weights that sessions are put together from.
#pragma once
#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "bundle/families.h"
#include "bundle/manifest.h"
#include "bundle/origin.h"
#include "parley/parley.hpp"
#include "session/parts.h"

namespace parley {

// Const after opening, so that any number of sessions on any threads share it.
class Bundle::Impl {
 public:
  // Throws BundleError, LibraryError.
  Impl(const std::filesystem::path& folder, const OpenOptions& options,
       std::span<const Family> families = known_families());

  // The insides of a bundle, for the bindings and measurements.
  static const std::shared_ptr<const Impl>& of(const Bundle& bundle) { return bundle.impl_; }

  const Manifest& manifest() const { return manifest_; }
  const Stages& stages() const { return stages_; }
  const std::shared_ptr<const Encoder>& encoder() const { return stages_.encoder; }
  const std::shared_ptr<const FlowDecoder>& flow() const { return flow_; }
  // With other settings instead of those that the bundle was opened with.
  std::shared_ptr<const FlowDecoder> flow_with(const FlowSettings& settings) const;
  const std::shared_ptr<const Vocoder>& vocoder() const { return vocoder_; }
  const std::shared_ptr<const TokenModel>& tokens() const { return tokens_; }
  std::shared_ptr<const Voice> voice(const std::string& name) const;  // empty: the default one
  // A KV cache of at most `n_cells` positions at a time.
  std::shared_ptr<const Backbone> backbone(std::int64_t n_cells) const;

  // A graph that is no part of the bundle, run as its own are, on the CPU.
  std::shared_ptr<const GraphRunner> beside(const std::filesystem::path& graph) const;

  bool has(Mode mode) const {
    return mode == Mode::turns ? bool(manifest_.turns) : bool(manifest_.duplex);
  }
  SessionParts parts(const SessionOptions& options) const;
  const Origin& origin() const { return origin_; }  // but for a session's options

 private:
  std::int64_t prompt_positions(const SessionParts& parts) const;
  std::shared_ptr<const GraphRunner> graph(const std::string& name,
                                           const OpenOptions& options) const;
  void read_voices();
  Mode pick_mode(const SessionOptions& options) const;

  std::filesystem::path folder_;
  Manifest manifest_;
  std::string kv_;
  int threads_ = 0;
  std::string onnxruntime_;
  Origin origin_;
  Stages stages_;
  std::shared_ptr<const FlowDecoder> flow_;
  std::shared_ptr<const Vocoder> vocoder_;
  std::shared_ptr<const TokenModel> tokens_;
  std::map<std::string, std::shared_ptr<const Voice>> voices_;
};

}  // namespace parley
