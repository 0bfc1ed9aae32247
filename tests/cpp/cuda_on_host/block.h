// The threads of one CUDA block as fibers of one thread of the host, which take turns where they wait for each other.
#pragma once

#include <functional>

namespace cuda_on_host {

constexpr int kWarp = 32;
constexpr int kMostThreads = 512;  // of a block

// Runs body count times, as the threads 0 .. count - 1 of a block; enter(thread) is called whenever one goes on. Throws
// what a body throws, and std::logic_error where threads wait for others that never come.
void run_block(int count, const std::function<void(int)>& enter, const std::function<void()>& body);

// To be called within a body.
int current_thread();
void wait_for_block();  // for all threads that have not returned
void wait_for_warp();
int warp_meetings();  // how often its warp has met

}  // namespace cuda_on_host
