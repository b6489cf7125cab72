// The allocator of the processes in which SUMO runs, to be preloaded: SUMO makes and drops small things all the time.
//
// One thread, the first that asks, has a pool of small blocks all to itself and takes no lock; all other threads and
// all larger blocks are the C library's. The pool is one stretch of addresses, cut into chunks of blocks of one size
// each, so a block's address tells whose it is and how large. What is dropped is kept for the next of its size, and
// the system has all of it back when the process ends. Blocks of the pool that another thread drops lie on a stack of
// their own until the owner runs out.
//
// After the free lists of each size of Wilson et al., "Dynamic Storage Allocation: A Survey and Critical Review" (1995),
// section 3.6.

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <dlfcn.h>
#include <new>
#include <sys/mman.h>

#ifndef __GLIBC__
#error "needs the GNU C library, whose own allocator has names of its own"
#endif

extern "C" {
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void __libc_free(void*);

#ifndef SOURCES
#define SOURCES ""
#endif

// The digest of this source, as hatch_build.py took it.
extern const char allocator_sources[] = SOURCES;
}

namespace {

constexpr std::size_t GRAIN = 16;                  // what every block is aligned to, and sizes are multiples of
constexpr std::size_t LARGEST = 4096;              // block of the pool
constexpr std::size_t CHUNK = std::size_t(1) << 16;
constexpr std::size_t POOL = std::size_t(1) << 35; // addresses, not memory
constexpr std::size_t SIZES = LARGEST / GRAIN + 1;
constexpr std::size_t HUGE_PAGE = std::size_t(1) << 21;
// Where to have it if nothing is there: far from where libraries go, which a direct call reaches within 2 GiB.
constexpr std::uintptr_t ASIDE = std::uintptr_t(1) << 44;
constexpr std::uintptr_t NOWHERE = std::uintptr_t(1) << 63;  // no pointer is within POOL of it

struct Block {
    Block* next;
};

// Untouched blocks of one size.
struct Rest {
    char *at, *end;
};

std::uintptr_t pool = NOWHERE;
char* next_chunk;
std::uint16_t grains[POOL / CHUNK];                // of a block, by chunk
Block* dropped[SIZES];
Rest rest[SIZES];
std::atomic<Block*> dropped_by_others{nullptr};
std::atomic<bool> owned{false};
__thread bool owner __attribute__((tls_model("initial-exec")));

bool in_pool(const void* block) { return reinterpret_cast<std::uintptr_t>(block) - pool < POOL; }

std::size_t grains_of(const void* block) { return grains[(reinterpret_cast<std::uintptr_t>(block) - pool) / CHUNK]; }

void keep(Block* block) {
    Block*& list = dropped[grains_of(block)];
    block->next = list;
    list = block;
}

// Whether this thread is the owner from now on.
bool becomes_owner() {
    if (owned.load(std::memory_order_relaxed) || owned.exchange(true)) {
        return false;
    }
    void* const found = mmap(
        reinterpret_cast<void*>(ASIDE), POOL + HUGE_PAGE, PROT_READ | PROT_WRITE,
        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0
    );
    if (found == MAP_FAILED) {  // such as with a limit on addresses: everything is the C library's
        return false;
    }
    madvise(found, POOL + HUGE_PAGE, MADV_HUGEPAGE);  // fewer faults as it grows; where there are none, nothing is lost
    pool = (reinterpret_cast<std::uintptr_t>(found) + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    next_chunk = reinterpret_cast<char*>(pool);
    return owner = true;
}

__attribute__((noinline)) void* take_anew(std::size_t size) {
    if (!owner && !becomes_owner()) {
        return __libc_malloc(size);
    }
    const std::size_t count = size == 0 ? 1 : (size + GRAIN - 1) / GRAIN;
    for (Block* block = dropped_by_others.exchange(nullptr, std::memory_order_acquire); block != nullptr;) {
        Block* const next = block->next;
        keep(block);
        block = next;
    }
    if (Block* const block = dropped[count]) {
        dropped[count] = block->next;
        return block;
    }
    if (reinterpret_cast<std::uintptr_t>(next_chunk) == pool + POOL) {
        return __libc_malloc(size);
    }
    char* const chunk = next_chunk;
    next_chunk += CHUNK;
    const std::size_t bytes = count * GRAIN;
    grains[(reinterpret_cast<std::uintptr_t>(chunk) - pool) / CHUNK] = std::uint16_t(count);
    rest[count] = {chunk + bytes, chunk + CHUNK / bytes * bytes};
    return chunk;
}

inline void* take(std::size_t size) {
    const std::size_t count = size == 0 ? 1 : (size + GRAIN - 1) / GRAIN;
    if (__builtin_expect(owner, true)) {
        if (Block* const block = dropped[count]) {
            dropped[count] = block->next;
            return block;
        }
        Rest& left = rest[count];
        if (left.at != left.end) {
            char* const block = left.at;
            left.at += count * GRAIN;
            return block;
        }
    }
    return take_anew(size);
}

inline void drop(void* block) {
    if (!in_pool(block)) {
        __libc_free(block);
        return;
    }
    Block* const freed = static_cast<Block*>(block);
    if (__builtin_expect(owner, true)) {
        keep(freed);
        return;
    }
    freed->next = dropped_by_others.load(std::memory_order_relaxed);
    while (!dropped_by_others.compare_exchange_weak(freed->next, freed, std::memory_order_release)) {
    }
}

}  // namespace

// What the C library lets a program replace, as far as it has to be; its aligned blocks stay its own.
extern "C" {

void* malloc(std::size_t size) { return size <= LARGEST ? take(size) : __libc_malloc(size); }

void free(void* block) { drop(block); }

void* calloc(std::size_t count, std::size_t each) {
    std::size_t size;
    if (__builtin_mul_overflow(count, each, &size) || size > LARGEST) {
        return __libc_calloc(count, each);
    }
    void* const block = take(size);
    return block == nullptr ? nullptr : std::memset(block, 0, size);
}

void* realloc(void* block, std::size_t size) {
    if (block == nullptr) {
        return malloc(size);
    }
    if (!in_pool(block)) {
        return __libc_realloc(block, size);
    }
    if (size == 0) {
        drop(block);
        return nullptr;
    }
    const std::size_t room = grains_of(block) * GRAIN;
    if (size <= room && size > room / 2) {
        return block;
    }
    void* const other = malloc(size);
    if (other != nullptr) {
        std::memcpy(other, block, size < room ? size : room);
        drop(block);
    }
    return other;
}

std::size_t malloc_usable_size(void* block) {
    if (in_pool(block)) {
        return grains_of(block) * GRAIN;
    }
    static const auto theirs = reinterpret_cast<std::size_t (*)(void*)>(dlsym(RTLD_NEXT, "malloc_usable_size"));
    return theirs(block);
}

}  // extern "C"

void* operator new(std::size_t size) {
    void* const block = malloc(size);
    if (block == nullptr) {
        throw std::bad_alloc();
    }
    return block;
}

void operator delete(void* block) noexcept { drop(block); }
void operator delete(void* block, std::size_t) noexcept { drop(block); }
