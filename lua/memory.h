/* Memory: the mappings and unwinder frames of one Lua state, so that a state whose script had to be
 * stopped can be given back whole, without running one more instruction of it.
 *
 * LuaJIT keeps its own allocator; the calls by which it gets memory from the system are interposed
 * (memory.c) and booked to the state that is bound on the calling thread. That is also where a
 * state's cap is enforced: at the cap, LuaJIT is told that memory is out. */
#ifndef LUA_MEMORY_H
#define LUA_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mapping {
    uintptr_t start, end;
    bool code; /* was made executable: machine code of the state's traces */
};

/* Belongs to one thread at a time, as its state does. All zero is an empty one without a cap. */
struct memory {
    struct mapping *regions;
    uint32_t region_count, region_capacity;
    const void **frames; /* registered with the unwinder */
    uint32_t frame_count, frame_capacity;
    size_t mapped_bytes;
    size_t cap_bytes;   /* 0 = none */
    volatile bool busy; /* the books are being changed: a signal handler must not read them */
};

/* The state whose calls to the system are booked; NULL = none. Set by the guard, around everything
 * that may allocate in the state. */
extern _Thread_local struct memory *memory_bound __attribute__((tls_model("initial-exec")));

/* Once, before any state is made. False: the calls of this LuaJIT cannot be interposed. */
bool memory_open(uintptr_t luajit_start, uintptr_t luajit_end);

/* Gives everything back to the system. Any thread, but nobody may use the state any more. */
void memory_abandon(struct memory *memory);
/* The books themselves, when the state was closed in order. */
void memory_close(struct memory *memory);

/* Signal handler: does the address lie in machine code of this state? */
bool memory_has_code(const struct memory *memory, uintptr_t address);

#endif
