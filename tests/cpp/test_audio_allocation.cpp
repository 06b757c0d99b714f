// The streaming front end allocates nothing once it is made; knows no numbers.
#include "audio/log_mel.h"
#include "audio/resampler.h"
#include "check.h"
#include "count_allocations.h"

using namespace parley;

TEST(allocation_is_counted) {
  const long before = check::allocation_count();
  const std::vector<float> some(10);
  CHECK_EQ(check::allocation_count() - before, 1);
  CHECK_EQ(some.size(), 10U);
}

TEST(allocation_free_resampler) {
  StreamingResampler resampler(48000, 24000, 6, 0.99, 1000);
  const std::vector<float> samples(5000, 0.25F);
  std::vector<float> out(resampler.max_output(samples.size()));
  StreamingResampler copy = resampler;
  const long before = check::allocation_count();
  for (std::size_t n = 0; n <= samples.size(); n += 7) {
    resampler.push(std::span(samples).first(n), out);
  }
  copy = resampler;
  resampler.finish(out);
  resampler.reset();
  CHECK_EQ(check::allocation_count() - before, 0);
}

TEST(allocation_free_chunk_log_mel) {
  const FrontEndConfig config;
  ChunkLogMel mel(config, 3840);
  const std::vector<float> chunk(3840, 0.25F);
  std::vector<float> log_mel(mel.frames_per_chunk() * 128);
  const long before = check::allocation_count();
  for (int i = 0; i < 20; ++i) {
    mel.push(chunk, log_mel);
    if (i % 3 == 0) {
      mel.rollback();
    } else {
      mel.commit();
    }
    if (i % 7 == 0) mel.reset();
  }
  CHECK_EQ(check::allocation_count() - before, 0);
}
