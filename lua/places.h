/* Places: where in the code a script may be left when it has to be stopped (watchdog.c, a). */
#ifndef LUA_PLACES_H
#define LUA_PLACES_H

#include <stdbool.h>
#include <stdint.h>

/* Not tried on other processors; and ThreadSanitizer holds signals back. */
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
#define PLACES_KNOWN 1
#else
#define PLACES_KNOWN 0
#endif

/* Once, before a second thread exists: finds them, and has LuaJIT's calls booked (memory.h). NULL,
 * or why that cannot be. */
const char *places_open(void);

/* Signal handler: may a thread be left that was interrupted at `instruction`, with `stack` as its
 * stack pointer? */
bool places_may_leave(uintptr_t instruction, uintptr_t stack);

#endif
