// A library with ONNX Runtime's function table and one graph, y = x over [1, T]; it counts what is
// alive and fails on demand, so tests see every status and handle given back. Computes nothing
// else.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace {

struct Object {
  int kind;
};
struct Value {
  void* data;
  std::size_t bytes;
  std::int64_t dims[6];
  std::size_t rank;
};

long live = 0;
int fail_at = -1;  // the slot whose call fails
int devices = 0;   // the last two that were added, as decimal digits: 1 TensorRT, 2 CUDA
int last_threads = 0;

void* make(std::size_t bytes = sizeof(Object)) {
  ++live;
  return std::calloc(1, bytes);
}
void drop(void* object) {
  if (object == nullptr) return;
  --live;
  std::free(object);
}

void* outcome(int slot) {
  return slot == fail_at ? make() : nullptr;
}

template <int kSlot, typename... Args>
void* nothing(Args...) {
  return outcome(kSlot);
}

template <int kSlot>
void* create(void** out) {
  void* status = outcome(kSlot);
  *out = status == nullptr ? make() : nullptr;
  return status;
}

int error_code(const void*) {
  return 11;
}
const char* error_message(const void*) {
  return "the stub\nfails";
}
void* create_env(void*, void*, int, const char*, void** out) {
  return create<4>(out);
}
void* create_domain(const char*, void** out) {
  return create<26>(out);
}
void* create_session(const void*, const char*, const void*, void** out) {
  return create<7>(out);
}
void* set_threads(void*, int n) {
  last_threads = n;
  return outcome(24);
}

void* run(void*, const void*, const char* const*, const Value* const* inputs, std::size_t,
          const char* const*, std::size_t n, Value** outputs) {
  if (void* status = outcome(9)) return status;
  for (std::size_t i = 0; i < n; ++i) {
    std::memcpy(outputs[i]->data, inputs[0]->data, outputs[i]->bytes);
  }
  return nullptr;
}

template <int kSlot>
void* count(const void*, std::size_t* out) {
  *out = 1;
  return outcome(kSlot);
}

template <int kSlot>
void* type_info(const void*, std::size_t, void** out) {
  return create<kSlot>(out);
}

template <int kSlot, char kName>
void* name(const void*, std::size_t, void*, char** out) {
  void* status = outcome(kSlot);
  if (status != nullptr) return status;
  *out = static_cast<char*>(make(2));
  (*out)[0] = kName;
  return nullptr;
}

void* tensor_over(const void*, void* data, std::size_t bytes, const std::int64_t* dims,
                  std::size_t rank, int, Value** out) {
  if (void* status = outcome(49)) return status;
  *out = static_cast<Value*>(make(sizeof(Value)));
  (*out)->data = data;
  (*out)->bytes = bytes;
  (*out)->rank = rank;
  std::memcpy((*out)->dims, dims, rank * sizeof *dims);
  return nullptr;
}

void* as_tensor(const void* info, const void** out) {
  *out = info;
  return outcome(55);
}
void* element_type(const void*, int* out) {
  *out = 1;
  return outcome(60);
}
void* rank(const void*, std::size_t* out) {
  *out = 2;
  return outcome(61);
}
void* dimensions(const void*, std::int64_t* dims, std::size_t) {
  dims[0] = 1;
  dims[1] = -1;
  return outcome(62);
}
void* memory_info(int, int, void** out) {
  return create<69>(out);
}
void* allocator_free(void*, void* memory) {
  drop(memory);
  return outcome(76);
}
void* allocator(void** out) {
  static Object one{};
  *out = &one;
  return outcome(78);
}

void* providers(char*** out, int* n) {
  static char cuda[] = "CUDAExecutionProvider";
  static char tensorrt[] = "TensorrtExecutionProvider";
  static char cpu[] = "CPUExecutionProvider";
  static char* names[] = {tensorrt, cuda, cpu};
  *out = names;
  *n = 3;
  return outcome(125);
}

template <int kSlot, int kDevice>
void* append(void*, const void*) {
  devices = devices % 10 * 10 + kDevice;
  return outcome(kSlot);
}

using Any = void (*)();
Any table[400];

template <typename Function>
void put(int slot, Function function) {
  table[slot] = reinterpret_cast<Any>(function);
}

const void* get_api(std::uint32_t) {
  put(1, error_code);
  put(2, error_message);
  put(4, create_env);
  put(7, create_session);
  put(9, run);
  put(10, create<10>);
  put(13, nothing<13, void*, int>);
  put(22, nothing<22, void*, int>);
  put(23, nothing<23, void*, int>);
  put(24, set_threads);
  put(25, nothing<25, void*, int>);
  put(26, create_domain);
  put(27, nothing<27, void*, const void*>);
  put(28, nothing<28, void*, void*>);
  put(30, count<30>);
  put(31, count<31>);
  put(33, type_info<33>);
  put(34, type_info<34>);
  put(36, name<36, 'x'>);
  put(37, name<37, 'y'>);
  put(49, tensor_over);
  put(55, as_tensor);
  put(60, element_type);
  put(61, rank);
  put(62, dimensions);
  put(69, memory_info);
  put(76, allocator_free);
  put(78, allocator);
  const int releases[] = {92, 93, 94, 95, 96, 98, 100, 101, 174, 208};
  for (int slot : releases) put(slot, drop);
  put(125, providers);
  put(126, nothing<126, char**, int>);
  put(130, nothing<130, void*, const char*, const char*>);
  put(170, append<170, 1>);
  put(171, create<171>);
  put(172, nothing<172, void*, const char* const*, const char* const*, std::size_t>);
  put(204, append<204, 2>);
  put(205, create<205>);
  put(206, nothing<206, void*, const char* const*, const char* const*, std::size_t>);
  return table;
}

const char* version() {
  return "1.99.0";
}

struct ApiBase {
  const void* (*get_api)(std::uint32_t);
  const char* (*version)();
};
const ApiBase base{get_api, version};

}  // namespace

extern "C" {
const ApiBase* OrtGetApiBase() {
  return &base;
}
long stub_live() {
  return live;
}
void stub_fail_at(int slot) {
  fail_at = slot;
}
int stub_devices() {
  const int added = devices;
  devices = 0;
  return added;
}
int stub_threads() {
  return last_threads;
}
}
