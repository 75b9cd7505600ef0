/* For tests of views: an arena, a pool of ten backends, all up, and a view of it. */
#ifndef VIEW_FIXTURE_H
#define VIEW_FIXTURE_H

#include <check.h>
#include <stdio.h>
#include <string.h>

#include "pool/view.h"

#define MEMBERS 10

static struct arena *arena;
static struct pool_facts *pool;
static struct slot *slots[MEMBERS];
static struct pool_view view;

/* `count` members named b0, b1, ..., all up, weight 1. */
static inline void fill(struct slot **members, uint32_t count) {
    for (uint32_t i = 0; i < count; i++) {
        char name[32];
        bool changed;
        snprintf(name, sizeof(name), "b%u", i);
        members[i] = arena_take_slot(arena, pool, name, "127.0.0.1:1", &changed);
        ck_assert_ptr_nonnull(members[i]);
        members[i]->presence = PRESENCE_PRESENT;
        members[i]->health = HEALTH_UP;
        slot_changed(members[i], pool);
    }
}

static inline void open_view(void) {
    char error[200];
    arena = arena_new(error, sizeof(error));
    ck_assert_ptr_nonnull(arena);
    pool = arena_take_pool(arena, "app");
    fill(slots, MEMBERS);
    ck_assert(view_init(&view, pool, "app", slots, MEMBERS));
    view_prepare(&view, NULL, 0);
}

static inline void close_view(void) {
    view_free(&view);
    arena_free(arena);
}

static inline uint32_t key(uint32_t number) {
    return view_natives.hash((const char *)&number, sizeof(number));
}

#endif
