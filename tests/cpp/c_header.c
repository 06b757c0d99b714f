// The C face is C99, pedantically, and its structs begin with their size; compiled, never run.
#include <parley/parley.h>

#define BEGINS_WITH_SIZE(type) \
  typedef char type##_begins_with_size[offsetof(type, size) == 0 && sizeof(type) % 8 == 0 ? 1 : -1]

BEGINS_WITH_SIZE(parley_open_options);
BEGINS_WITH_SIZE(parley_bundle_facts);
BEGINS_WITH_SIZE(parley_session_options);
BEGINS_WITH_SIZE(parley_step);
BEGINS_WITH_SIZE(parley_event);
BEGINS_WITH_SIZE(parley_session_state);
BEGINS_WITH_SIZE(parley_live_options);
BEGINS_WITH_SIZE(parley_live_event);
BEGINS_WITH_SIZE(parley_live_statistics);

uint32_t parley_header_abi(void);
uint32_t parley_header_abi(void) {
  return PARLEY_ABI;
}
