// The public face of a session.
#include "session/session.h"

namespace parley {

Session::Session(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;
Session::~Session() = default;

Step Session::step(std::span<const float> in, std::span<float> out) {
  return impl_->step(in, out);
}
void Session::feed(std::span<const float> in, int hz) {
  impl_->feed(in, hz);
}
std::optional<Step> Session::next(std::span<float> out) {
  return impl_->next(out);
}
void Session::flush() {
  impl_->flush();
}
std::size_t Session::waiting() const {
  return impl_->waiting();
}
void Session::end_turn() {
  impl_->end_turn();
}
void Session::send_text(std::string_view text) {
  impl_->send_text(text);
}
void Session::send_result(std::string_view name, std::string_view content) {
  impl_->send_result(name, content);
}
void Session::interrupt(std::optional<std::int64_t> heard_until) {
  impl_->interrupt(heard_until);
}
void Session::cancel() {
  impl_->cancel();
}
void Session::reset() {
  impl_->reset();
}
void Session::close() {
  impl_->close();
}
Session Session::fork() {
  return Session(impl_->fork());
}
void Session::save(const std::string& path) {
  impl_->save(path);
}
Mode Session::mode() const {
  return impl_->mode();
}
Floor Session::floor() const {
  return impl_->floor();
}
std::int64_t Session::position() const {
  return impl_->position();
}
std::size_t Session::delay_samples() const {
  return impl_->delay_samples();
}
std::size_t Session::input_delay_samples() const {
  return impl_->input_delay_samples();
}

Session make_session(Organs organs) {
  return Session(std::make_unique<Session::Impl>(std::move(organs)));
}

}  // namespace parley
