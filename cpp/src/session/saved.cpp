// A fork of a session, and its way to a file and back; knows no bundle.
#include "session/saved.h"

#include <filesystem>
#include <fstream>
#include <system_error>
#include <utility>

#include "base/sha256.h"
#include "session/session.h"

namespace parley {

namespace {

constexpr std::string_view kMagic = "parley session\n";
constexpr std::uint32_t kFormat = 1;  // grows with every change of what is saved
constexpr std::size_t kMostOrigin = 1U << 20U;
constexpr std::size_t kMostCodes = 1U << 12U;
constexpr std::size_t kMostText = 1U << 24U;
constexpr std::size_t kMostResults = 1U << 12U;

[[noreturn]] void refuse(const std::string& path, const std::string& got) {
  throw InputError("[session.resume] expected a saved session in '" + path + "', got " + got +
                   "; save the session again");
}

}  // namespace

void write_saved(const std::string& path, const std::string& origin,
                 std::span<const std::byte> body) {
  ByteWriter file;
  for (char c : kMagic) file.put(c);
  file.put(kFormat);
  file.put_text(origin);
  file.put_all(body);
  for (char c : sha256_of(file.bytes())) file.put(c);
  const std::string part = path + ".part";
  std::ofstream stream(part, std::ios::binary | std::ios::trunc);
  stream.write(reinterpret_cast<const char*>(file.bytes().data()),
               static_cast<std::streamsize>(file.bytes().size()));
  stream.close();
  std::error_code error;
  if (stream) std::filesystem::rename(part, path, error);
  if (stream && !error) return;
  std::error_code ignored;
  std::filesystem::remove(part, ignored);
  throw Error("[session.save] expected to write '" + path + "', got " +
              (error ? error.message() : "a failure of the disk") +
              "; give a path in a folder that is there and has room");
}

SavedSession read_saved(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  if (!stream) refuse(path, "no file that can be read");
  std::error_code error;
  const std::uintmax_t size = std::filesystem::file_size(path, error);
  std::vector<std::byte> bytes(error ? 0 : static_cast<std::size_t>(size));
  if (!stream.read(reinterpret_cast<char*>(bytes.data()),
                   static_cast<std::streamsize>(bytes.size())))
    refuse(path, "one that cannot be read whole");
  constexpr std::size_t kHash = 64;
  if (bytes.size() < kMagic.size() + sizeof kFormat + kHash ||
      std::string_view(reinterpret_cast<const char*>(bytes.data()), kMagic.size()) != kMagic)
    refuse(path, "another kind of file");
  const auto content = std::span<const std::byte>(bytes).first(bytes.size() - kHash);
  const std::string_view hash(reinterpret_cast<const char*>(bytes.data()) + content.size(), kHash);
  ByteReader reader(content.subspan(kMagic.size()));
  if (const auto format = reader.get<std::uint32_t>(); format != kFormat) {
    refuse(path, "one of format " + std::to_string(format) + ", where this parley has " +
                     std::to_string(kFormat));
  }
  if (sha256_of(content) != hash) refuse(path, "one that was cut off or changed since");
  SavedSession saved;
  saved.origin = reader.get_text(kMostOrigin);
  saved.body = reader.get_some<std::byte>(content.size());
  if (reader.left() > 0) refuse(path, "more than belongs there");
  return saved;
}

std::unique_ptr<Session::Impl> Session::Impl::fork() {
  const std::unique_lock<std::mutex> lock = enter("fork");
  refuse_waiting("fork");
  std::unique_ptr<Impl> copy(new Impl(setup_, listener_->fork(), mind_->fork(), Speech(*speech_)));
  copy->done_ = done_;
  return copy;
}

void Session::Impl::save(const std::string& path) {
  const std::unique_lock<std::mutex> lock = enter("save");
  refuse_waiting("save");
  ByteWriter body;
  body.put(done_.floor);
  for (bool flag :
       {done_.turn_ended, done_.drawing, done_.voicing, done_.sounded, done_.drop, done_.cut,
        done_.job.begins, done_.job.last, done_.job.drops, done_.job.sounding})
    body.put_flag(flag);
  body.put(done_.heard_until);
  body.put(done_.replies);
  body.put(done_.index);
  body.put_all(done_.codes);
  body.put(done_.job.seed);
  body.put(done_.job.reply);
  body.put_all(done_.job.codes);
  body.put_text(done_.text.waiting());
  body.put_text(done_.call_text.waiting());
  body.put_text(done_.call);
  body.put(static_cast<std::uint32_t>(done_.results.size()));
  for (const auto& [name, content] : done_.results) {
    body.put_text(name);
    body.put_text(content);
  }
  listener_->save(body);
  mind_->save(body);
  speech_->save(body);
  write_saved(path, setup_.origin, body.bytes());
}

void Session::Impl::load(ByteReader& from) {
  Progress saved;
  saved.floor = from.get<Floor>();
  for (bool* flag :
       {&saved.turn_ended, &saved.drawing, &saved.voicing, &saved.sounded, &saved.drop, &saved.cut,
        &saved.job.begins, &saved.job.last, &saved.job.drops, &saved.job.sounding})
    *flag = from.get_flag();
  saved.heard_until = from.get<std::int64_t>();
  saved.replies = from.get<std::uint32_t>();
  saved.index = from.get<std::int64_t>();
  saved.codes = from.get_some<std::int32_t>(kMostCodes);
  saved.job.seed = from.get<std::uint64_t>();
  saved.job.reply = from.get<std::uint32_t>();
  saved.job.codes = from.get_some<std::int32_t>(kMostCodes);
  std::string unread;
  saved.text.add(from.get_text(4), unread);
  saved.call_text.add(from.get_text(4), unread);
  saved.call = from.get_text(kMostText);
  for (auto n = from.get<std::uint32_t>(); n > 0 && saved.results.size() < kMostResults; --n) {
    std::string name = from.get_text(kMostText);
    saved.results.emplace_back(std::move(name), from.get_text(kMostText));
  }
  ByteReader::require(saved.floor <= Floor::speaking && saved.index >= 0 &&
                          saved.index < ByteReader::kMostCounted && unread.empty() &&
                          saved.codes.size() <= setup_.codes_per_chunk &&
                          saved.job.codes.size() <= 2 * setup_.codes_per_chunk,
                      "a conversation that makes sense");
  listener_->load(from);
  mind_->load(from);
  speech_->load(from);
  ByteReader::require(from.left() == 0, "nothing behind it");
  done_ = work_ = std::move(saved);
}

}  // namespace parley
