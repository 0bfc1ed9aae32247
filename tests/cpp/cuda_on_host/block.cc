#include "block.h"

#include <ucontext.h>

#include <algorithm>
#include <exception>
#include <memory>
#include <stdexcept>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

namespace cuda_on_host {
namespace {

constexpr std::size_t kStack = 256 * 1024;

// The address sanitizer must know which stack is in use.
struct Switch {
  void* fake = nullptr;
  void leave([[maybe_unused]] bool for_good, [[maybe_unused]] const void* to, [[maybe_unused]] std::size_t size) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_start_switch_fiber(for_good ? nullptr : &fake, to, size);
#endif
  }
  void arrive([[maybe_unused]] const void** from = nullptr, [[maybe_unused]] std::size_t* size = nullptr) {
#if defined(__SANITIZE_ADDRESS__)
    __sanitizer_finish_switch_fiber(fake, from, size);
#endif
  }
};

// Where the threads of a warp or of the block wait for each other, again and again.
struct Meeting {
  int members = 0, waiting = 0, number = 0;

  void open_if_complete() {
    if (waiting == 0 || waiting < members) return;
    waiting = 0;
    ++number;
  }
  void leave() {
    --members;
    open_if_complete();
  }
};

struct Fiber {
  ucontext_t context{};
  Switch change;
  std::unique_ptr<char[]> stack{new char[kStack]};
  bool done = true;
  Meeting* waits_at = nullptr;
  int since = 0;  // the meeting's number when it came
};

struct Block {
  std::vector<Fiber> fibers{kMostThreads};
  Meeting all, warps[kMostThreads / kWarp];
  int current = 0;
  const std::function<void()>* body = nullptr;
  std::exception_ptr failure;
  ucontext_t scheduler{};
  Switch change;
  const void* stack = nullptr;  // the scheduler's
  std::size_t stack_size = 0;
};

thread_local std::unique_ptr<Block> block;

void to_scheduler(bool for_good) {
  Fiber& fiber = block->fibers[static_cast<std::size_t>(block->current)];
  fiber.change.leave(for_good, block->stack, block->stack_size);
  swapcontext(&fiber.context, &block->scheduler);
  fiber.change.arrive();
}

void resume(int thread) {
  Fiber& fiber = block->fibers[static_cast<std::size_t>(thread)];
  block->current = thread;
  block->change.leave(false, fiber.stack.get(), kStack);
  swapcontext(&block->scheduler, &fiber.context);
  block->change.arrive();
}

Meeting& warp_of(int thread) { return block->warps[thread / kWarp]; }

void wait(Meeting& meeting) {
  Fiber& fiber = block->fibers[static_cast<std::size_t>(block->current)];
  fiber.waits_at = &meeting, fiber.since = meeting.number;
  ++meeting.waiting;
  meeting.open_if_complete();
  to_scheduler(false);
}

void run_fiber() {
  block->fibers[static_cast<std::size_t>(block->current)].change.arrive(&block->stack, &block->stack_size);
  try {
    (*block->body)();
  } catch (...) {
    block->failure = std::current_exception();
  }
  block->fibers[static_cast<std::size_t>(block->current)].done = true;
  block->all.leave();
  warp_of(block->current).leave();
  to_scheduler(true);
}

}  // namespace

int current_thread() { return block->current; }
int warp_meetings() { return warp_of(block->current).number; }
void wait_for_block() { wait(block->all); }
void wait_for_warp() { wait(warp_of(block->current)); }

void run_block(int count, const std::function<void(int)>& enter, const std::function<void()>& body) {
  if (count > kMostThreads) throw std::logic_error("a block of more threads than the stand-in has");
  if (!block) block = std::make_unique<Block>();
  block->body = &body, block->failure = nullptr, block->all = {count};
  for (int first = 0; first < count; first += kWarp) warp_of(first) = {std::min(kWarp, count - first)};
  for (int t = 0; t < count; ++t) {
    Fiber& fiber = block->fibers[static_cast<std::size_t>(t)];
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = kStack;
    fiber.context.uc_link = nullptr;
    fiber.change = {}, fiber.done = false, fiber.waits_at = nullptr;
    makecontext(&fiber.context, run_fiber, 0);
  }
  // Back and forth, so that what only works in one order does not work here.
  bool forth = true, any = true;
  for (bool moved = true; any; forth = !forth) {
    if (!moved) throw std::logic_error("threads of a block wait for others that never come");
    any = moved = false;
    for (int i = 0; i < count; ++i) {
      const int thread = forth ? i : count - 1 - i;
      const Fiber& fiber = block->fibers[static_cast<std::size_t>(thread)];
      if (fiber.done) continue;
      any = true;
      if (fiber.waits_at && fiber.since == fiber.waits_at->number) continue;
      moved = true;
      enter(thread);
      resume(thread);
    }
    if (block->failure) std::rethrow_exception(block->failure);
  }
}

}  // namespace cuda_on_host
