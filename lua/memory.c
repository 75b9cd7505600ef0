/* Memory of Lua states: see memory.h. Runs on whatever thread a state runs on.
 *
 * The functions below replace those of libc and libgcc for the whole process, because an
 * executable's symbols come first. Called by anybody but LuaJIT, or while no state is bound, they
 * do just what the originals do. While a state is bound they are also stop points: a script that is
 * to be stopped, but was interrupted where it must not be left, is left here.
 *
 * LuaJIT registers its machine code with libgcc's unwinder. A state that is given back without
 * taking that back would leave the unwinder with pointers to nowhere, and the process dies at the
 * next error that anybody raises. */
#include "lua/memory.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lua/watchdog.h"

_Thread_local struct memory *memory_bound;

#ifdef __SANITIZE_THREAD__
/* ThreadSanitizer must see every mapping, and defers signals: nothing can be stopped under it. */
bool memory_open(uintptr_t luajit_start, uintptr_t luajit_end) {
    (void)luajit_start;
    (void)luajit_end;
    return false;
}
#else

/* Written by memory_open, before a second thread exists. */
static uintptr_t luajit_from, luajit_to;
static void (*real_register_frame)(const void *), (*real_deregister_frame)(const void *);
static int (*real_raise_exception)(void *);

static void *system_mmap(void *address, size_t bytes, int protection, int flags, int descriptor,
                         off_t offset) {
    return (void *)syscall(SYS_mmap, address, bytes, protection, flags, descriptor, offset);
}

/* The memory to book a call of LuaJIT to; NULL: somebody else's call. */
static struct memory *booked(const void *caller) {
    uintptr_t from = (uintptr_t)caller;
    return from >= luajit_from && from < luajit_to ? memory_bound : NULL;
}

/* ---- the books ---- */

static bool grow(void **array, uint32_t *capacity, uint32_t count, size_t each) {
    if (count < *capacity) {
        return true;
    }
    uint32_t wanted = *capacity == 0 ? 16 : *capacity * 2;
    void *grown = realloc(*array, wanted * each);
    if (grown == NULL) {
        return false;
    }
    *array = grown;
    *capacity = wanted;
    return true;
}

/* Room for two more: releasing the middle of a region splits it. */
static bool make_room(struct memory *memory) {
    return grow((void **)&memory->regions, &memory->region_capacity, memory->region_count + 1,
                sizeof(*memory->regions));
}

static void book(struct memory *memory, uintptr_t start, size_t bytes) {
    memory->regions[memory->region_count++] =
        (struct mapping){.start = start, .end = start + bytes, .code = false};
    memory->mapped_bytes += bytes;
}

static void unbook(struct memory *memory, uintptr_t start, uintptr_t end) {
    for (uint32_t i = 0; i < memory->region_count; i++) {
        struct mapping *region = &memory->regions[i];
        if (region->end <= start || region->start >= end) {
            continue;
        }
        uintptr_t from = region->start > start ? region->start : start;
        uintptr_t to = region->end < end ? region->end : end;
        struct mapping rest = {.start = to, .end = region->end, .code = region->code};
        memory->mapped_bytes -= to - from;
        region->end = from;
        if (rest.start < rest.end && region->start < region->end) {
            memory->regions[memory->region_count++] = rest; /* make_room saw to it */
        } else if (rest.start < rest.end) {
            *region = rest;
        } else if (region->start == region->end) {
            *region = memory->regions[--memory->region_count];
            i--;
        }
    }
}

/* May the state have so much more? Else errno. */
static bool may_grow(const struct memory *memory, size_t bytes) {
    if (memory->cap_bytes != 0 &&
        (bytes > memory->cap_bytes || memory->mapped_bytes > memory->cap_bytes - bytes)) {
        errno = ENOMEM;
        return false;
    }
    return true;
}

/* There is no memory for LuaJIT, ours or the system's. Its own error is not safe: raised while
 * compiled code runs, it follows a stale stack and the process dies. So the script is left. Where
 * it cannot be, while no script runs, LuaJIT answers NULL to us. */
static void *no_memory(void) {
    watchdog_stop_for_memory();
    errno = ENOMEM;
    return MAP_FAILED;
}

/* ---- what LuaJIT calls ---- */

void *mmap64(void *address, size_t bytes, int protection, int flags, int descriptor,
             off64_t offset) {
    struct memory *memory = booked(__builtin_return_address(0));
    if (memory == NULL) {
        return system_mmap(address, bytes, protection, flags, descriptor, offset);
    }
    watchdog_stop_point();
    if (!may_grow(memory, bytes)) {
        return no_memory();
    }
    memory->busy = true;
    void *mapped = MAP_FAILED;
    if (!make_room(memory)) {
        errno = ENOMEM;
    } else {
        mapped = system_mmap(address, bytes, protection, flags, descriptor, offset);
    }
    if (mapped != MAP_FAILED) {
        book(memory, (uintptr_t)mapped, bytes);
    }
    memory->busy = false;
    return mapped == MAP_FAILED && errno == ENOMEM ? no_memory() : mapped;
}

int munmap(void *address, size_t bytes) {
    struct memory *memory = booked(__builtin_return_address(0));
    if (memory == NULL) {
        return (int)syscall(SYS_munmap, address, bytes);
    }
    watchdog_stop_point();
    memory->busy = true;
    int result = -1;
    if (!make_room(memory)) {
        errno = ENOMEM; /* LuaJIT keeps the piece, which stays booked */
    } else {
        result = (int)syscall(SYS_munmap, address, bytes);
    }
    if (result == 0) {
        unbook(memory, (uintptr_t)address, (uintptr_t)address + bytes);
    }
    memory->busy = false;
    return result;
}

void *mremap(void *address, size_t old_bytes, size_t bytes, int flags, ...) {
    void *wish = NULL;
    if ((flags & MREMAP_FIXED) != 0) {
        va_list arguments;
        va_start(arguments, flags);
        wish = va_arg(arguments, void *);
        va_end(arguments);
    }
    struct memory *memory = booked(__builtin_return_address(0));
    if (memory == NULL) {
        return (void *)syscall(SYS_mremap, address, old_bytes, bytes, flags, wish);
    }
    watchdog_stop_point();
    if (bytes > old_bytes && !may_grow(memory, bytes - old_bytes)) {
        return MAP_FAILED;
    }
    memory->busy = true;
    void *mapped = MAP_FAILED;
    if (!make_room(memory)) {
        errno = ENOMEM;
    } else {
        mapped = (void *)syscall(SYS_mremap, address, old_bytes, bytes, flags, wish);
    }
    if (mapped != MAP_FAILED) {
        unbook(memory, (uintptr_t)address, (uintptr_t)address + old_bytes);
        book(memory, (uintptr_t)mapped, bytes); /* make_room saw to both */
    }
    memory->busy = false;
    return mapped;
}

int mprotect(void *address, size_t bytes, int protection) {
    struct memory *memory = booked(__builtin_return_address(0));
    if (memory != NULL) {
        watchdog_stop_point();
        memory->busy = true;
        for (uint32_t i = 0; (protection & PROT_EXEC) != 0 && i < memory->region_count; i++) {
            struct mapping *region = &memory->regions[i];
            region->code = region->code || region->start == (uintptr_t)address;
        }
        memory->busy = false;
    }
    return (int)syscall(SYS_mprotect, address, bytes, protection);
}

extern void __register_frame(const void *begin);
extern void __deregister_frame(const void *begin);
extern int _Unwind_RaiseException(void *exception);

void __register_frame(const void *begin) {
    struct memory *memory = booked(__builtin_return_address(0));
    if (memory != NULL) {
        memory->busy = true;
        bool room = grow((void **)&memory->frames, &memory->frame_capacity, memory->frame_count,
                         sizeof(*memory->frames));
        if (room) {
            memory->frames[memory->frame_count++] = begin;
        }
        memory->busy = false;
        if (!room) {
            return; /* errors cannot be thrown through that code; better than a stale frame */
        }
    }
    real_register_frame(begin);
}

void __deregister_frame(const void *begin) {
    struct memory *memory = booked(__builtin_return_address(0));
    bool known = memory == NULL;
    for (uint32_t i = 0; memory != NULL && i < memory->frame_count; i++) {
        if (memory->frames[i] == begin) {
            memory->busy = true;
            memory->frames[i] = memory->frames[--memory->frame_count];
            memory->busy = false;
            known = true;
            break;
        }
    }
    if (known) { /* libgcc ends the process for a frame it does not know */
        real_deregister_frame(begin);
    }
}

int _Unwind_RaiseException(void *exception) {
    if (memory_bound != NULL) {
        watchdog_stop_point();
    }
    return real_raise_exception(exception);
}

/* ---- life ---- */

bool memory_open(uintptr_t luajit_start, uintptr_t luajit_end) {
    luajit_from = luajit_start;
    luajit_to = luajit_end;
    return real_register_frame != NULL && real_deregister_frame != NULL &&
           real_raise_exception != NULL;
}

/* Before main, since anybody may raise or register from then on. */
__attribute__((constructor)) static void find_originals(void) {
    void *found[] = {dlsym(RTLD_NEXT, "__register_frame"), dlsym(RTLD_NEXT, "__deregister_frame"),
                     dlsym(RTLD_NEXT, "_Unwind_RaiseException")};
    real_register_frame = (void (*)(const void *))(uintptr_t)found[0];
    real_deregister_frame = (void (*)(const void *))(uintptr_t)found[1];
    real_raise_exception = (int (*)(void *))(uintptr_t)found[2];
}

#endif

void memory_close(struct memory *memory) {
    free(memory->regions);
    free(memory->frames);
    *memory = (struct memory){.cap_bytes = memory->cap_bytes};
}

void memory_abandon(struct memory *memory) {
#ifndef __SANITIZE_THREAD__
    for (uint32_t i = 0; i < memory->frame_count; i++) {
        real_deregister_frame(memory->frames[i]);
    }
    for (uint32_t i = 0; i < memory->region_count; i++) {
        const struct mapping *region = &memory->regions[i];
        (void)syscall(SYS_munmap, region->start, region->end - region->start); /* it was mapped */
    }
#endif
    memory_close(memory);
}

bool memory_has_code(const struct memory *memory, uintptr_t address) {
    for (uint32_t i = 0; i < memory->region_count; i++) {
        const struct mapping *region = &memory->regions[i];
        if (region->code && address >= region->start && address < region->end) {
            return true;
        }
    }
    return false;
}
