/* The parts of the process in which a script may be left; see places.h. Found once at start, only
 * read afterwards, by signal handlers of any thread. */
#include "lua/places.h"

#if PLACES_KNOWN

#include <link.h>
#include <lua.h>
#include <math.h>
#include <string.h>

#include "lua/memory.h"

#ifdef __SANITIZE_ADDRESS__
#define HAS_LEAVES 0 /* its string functions are none */
#else
#define HAS_LEAVES 1
#endif

#define LEAVES_MAX 16

struct range {
    uintptr_t start, end;
};
static struct range luajit_text, libm_text, leaves[LEAVES_MAX];
static uint32_t leaf_count;

static bool in_range(const struct range *range, uintptr_t address) {
    return address >= range->start && address < range->end;
}

static bool in_lua(uintptr_t address) {
    return in_range(&luajit_text, address) ||
           (memory_bound != NULL && memory_has_code(memory_bound, address));
}

bool places_may_leave(uintptr_t instruction, uintptr_t stack) {
    if (in_lua(instruction) || in_range(&libm_text, instruction)) {
        return true;
    }
    for (uint32_t i = 0; i < leaf_count; i++) {
        if (in_range(&leaves[i], instruction)) {
            /* These functions keep nothing on the stack: what is there is where they return to. */
            return in_lua(*(const uintptr_t *)stack);
        }
    }
    return false;
}

/* ---- finding them ---- */

/* dl_iterate_phdr: the executable part of the object that holds the address in range->start. */
static int find_object(struct dl_phdr_info *info, size_t bytes, void *argument) {
    (void)bytes;
    struct range *range = argument;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &info->dlpi_phdr[i];
        uintptr_t start = info->dlpi_addr + part->p_vaddr;
        struct range text = {start, start + part->p_memsz};
        if (part->p_type == PT_LOAD && (part->p_flags & PF_X) != 0 &&
            in_range(&text, range->start)) {
            *range = text;
            return 1;
        }
    }
    return 0;
}

static bool find_text(uintptr_t inside, struct range *range) {
    *range = (struct range){.start = inside};
    return dl_iterate_phdr(find_object, range) == 1;
}

struct dwarf_bases {
    void *text, *data, *function;
};
extern const void *_Unwind_Find_FDE(const void *address, struct dwarf_bases *bases);

/* Where the version of a string function that this processor uses begins and ends: libc's symbols
 * do not say, but the unwinder's entries do. */
static void add_leaf(uintptr_t function) {
    struct dwarf_bases bases;
    const char *entry = _Unwind_Find_FDE((const char *)function + 1, &bases);
    uint32_t length; /* behind length, back pointer and start, 4 bytes each */
    if (!HAS_LEAVES || entry == NULL || leaf_count == LEAVES_MAX) {
        return; /* one place less where a script can be left at once */
    }
    memcpy(&length, entry + 12, sizeof(length));
    leaves[leaf_count++] =
        (struct range){(uintptr_t)bases.function, (uintptr_t)bases.function + length};
}

static void find_leaves(void) {
    /* volatile: else the compiler's idea of them, not what libc chose */
    void *(*volatile copy)(void *, const void *, size_t) = memcpy;
    void *(*volatile move)(void *, const void *, size_t) = memmove;
    void *(*volatile set)(void *, int, size_t) = memset;
    int (*volatile compare)(const void *, const void *, size_t) = memcmp;
    void *(*volatile find)(const void *, int, size_t) = memchr;
    size_t (*volatile length)(const char *) = strlen;
    char *(*volatile character)(const char *, int) = strchr;
    int (*volatile order)(const char *, const char *) = strcmp;
    const uintptr_t functions[] = {(uintptr_t)copy,      (uintptr_t)move, (uintptr_t)set,
                                   (uintptr_t)compare,   (uintptr_t)find, (uintptr_t)length,
                                   (uintptr_t)character, (uintptr_t)order};
    for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++) {
        add_leaf(functions[i]);
    }
}

const char *places_open(void) {
    struct range own;
    if (!find_text((uintptr_t)lua_newstate, &luajit_text) ||
        !find_text((uintptr_t)places_open, &own)) {
        return "LuaJIT's code was not found in this process";
    }
    if (own.start == luajit_text.start) {
        return "LuaJIT is linked into the program, not a library of its own";
    }
    double (*volatile power)(double, double) = pow;
    if (!find_text((uintptr_t)power, &libm_text)) {
        libm_text = (struct range){0};
    }
    find_leaves();
    return memory_open(luajit_text.start, luajit_text.end)
               ? NULL
               : "the system calls of LuaJIT cannot be followed";
}

#endif
