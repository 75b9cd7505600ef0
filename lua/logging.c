/* alacrity.log: lines a script writes, as text or as a table of fields; limited for each Lua state,
 * so that a script cannot drown the log. Runs on the thread that owns the state, or builds it.
 *
 * Everything is copied into buffers on the stack, of fixed size: what is too long is cut, and shows
 * it. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "lua/library.h"

#define FIELDS 16
#define NAME_BYTES 48
#define VALUE_BYTES 256
#define MESSAGE_BYTES 4096        /* as long as a line */
#define FIELDS_MESSAGE_BYTES 1024 /* of one that has fields: it leaves them some room */
#define LINES_A_SECOND 100

/* What a script said. */
struct entry {
    char message[MESSAGE_BYTES];
    uint32_t count;
    struct entry_field {
        char name[NAME_BYTES], value[VALUE_BYTES];
        bool bare; /* a number, true or false */
    } fields[FIELDS];
    uint32_t left_out; /* fields there was no room for */
};

/* Copies bytes, at most `room` with the final NUL; a cut shows as "..." at the end, a NUL as a
 * space, as it would hide what follows. */
static void copy_text(char *out, size_t room, const char *bytes, size_t length) {
    bool cut = length >= room;
    size_t kept = cut ? room - 4 : length;
    for (size_t i = 0; i < kept; i++) {
        out[i] = bytes[i] != '\0' ? bytes[i] : ' ';
    }
    strcpy(out + kept, cut ? "..." : "");
}

/* The value at `index` as text. True: it may stand without quotes. */
static bool copy_value(lua_State *lua, int index, char *out, size_t room) {
    size_t length;
    const char *text;
    double number;
    switch (lua_type(lua, index)) {
    case LUA_TSTRING:
        text = lua_tolstring(lua, index, &length);
        copy_text(out, room, text, length);
        return false;
    case LUA_TNUMBER:
        number = lua_tonumber(lua, index);
        snprintf(out, room, "%.14g", number);
        return isfinite(number);
    case LUA_TBOOLEAN:
        snprintf(out, room, "%s", lua_toboolean(lua, index) ? "true" : "false");
        return true;
    case LUA_TNIL:
    case LUA_TNONE:
        out[0] = '\0';
        return false;
    default:
        snprintf(out, room, "(a %s)", lua_typename(lua, lua_type(lua, index)));
        return false;
    }
}

/* A name no line can be forged with: others than a-z, 0-9 and _ become _, and names the line has
 * already get one at their end. */
static void copy_name(char *out, const char *bytes, size_t length) {
    static const char *const own[] = {"time",    "level",  "event",     "thread",
                                      "message", "script", "shortened", "fields_left_out"};
    copy_text(out, NAME_BYTES - 1, bytes, length);
    for (char *at = out; *at != '\0'; at++) {
        bool plain =
            (*at >= 'a' && *at <= 'z') || (*at >= 'A' && *at <= 'Z') || (*at >= '0' && *at <= '9');
        *at = plain ? *at : '_';
    }
    if (out[0] == '\0') {
        strcpy(out, "_");
    }
    for (size_t i = 0; i < sizeof(own) / sizeof(own[0]); i++) {
        if (strcmp(out, own[i]) == 0) {
            strcat(out, "_");
        }
    }
}

/* Sorted by name: Lua's own order changes from start to start. */
static void insert_field(struct entry *entry, const struct entry_field *field) {
    uint32_t at = entry->count++;
    for (; at > 0 && strcmp(entry->fields[at - 1].name, field->name) > 0; at--) {
        entry->fields[at] = entry->fields[at - 1];
    }
    entry->fields[at] = *field;
}

static void read_table(lua_State *lua, int table, struct entry *entry) {
    for (lua_pushnil(lua); lua_next(lua, table) != 0; lua_pop(lua, 1)) {
        struct entry_field field;
        size_t length;
        const char *name =
            lua_type(lua, -2) == LUA_TSTRING ? lua_tolstring(lua, -2, &length) : NULL;
        if (name == NULL) {
            entry->left_out++;
        } else if (strcmp(name, "message") == 0 && length == strlen("message")) {
            (void)copy_value(lua, -1, entry->message, FIELDS_MESSAGE_BYTES);
        } else if (entry->count == FIELDS) {
            entry->left_out++;
        } else {
            copy_name(field.name, name, length);
            field.bare = copy_value(lua, -1, field.value, sizeof(field.value));
            insert_field(entry, &field);
        }
    }
}

static void write_entry(enum log_level level, const char *script, const struct entry *entry) {
    struct log_field fields[FIELDS + 2] = {LOG_STRING("script", script)};
    uint32_t count = 1;
    for (uint32_t i = 0; i < entry->count; i++) {
        const struct entry_field *field = &entry->fields[i];
        if (i > 0 && strcmp(field->name, entry->fields[i - 1].name) == 0) {
            continue; /* two names that became one: JSON has room for one */
        }
        fields[count++] = field->bare ? LOG_BARE(field->name, field->value)
                                      : LOG_STRING(field->name, field->value);
    }
    if (entry->left_out > 0) {
        fields[count++] = LOG_NUMBER("fields_left_out", entry->left_out);
    }
    log_event(level, "script", fields, count, "%s", entry->message);
}

int library_log(lua_State *lua) {
    struct vm *vm = lua_touserdata(lua, lua_upvalueindex(1));
    const char *script = vm->name != NULL ? vm->name : "stock";
    lua_Integer level = luaL_checkinteger(lua, 1);
    uint32_t suppressed;
    if (level < LOG_DEBUG || level > LOG_ERROR) {
        return luaL_argerror(lua, 1, "no such level");
    }
    if (!log_enabled((enum log_level)level)) {
        return 0;
    }
    if (!log_limiter_pass(&vm->log_limiter, LINES_A_SECOND, &suppressed)) {
        return 0;
    }
    struct entry entry;
    entry.message[0] = '\0';
    entry.count = entry.left_out = 0;
    if (lua_istable(lua, 2)) {
        read_table(lua, 2, &entry);
    } else {
        (void)copy_value(lua, 2, entry.message, sizeof(entry.message));
    }
    if (suppressed > 0) {
        const struct log_field fields[] = {LOG_STRING("script", script)};
        log_fields(LOG_WARNING, "script", fields,
                   "%u lines of the script left out: more than %d in a second", suppressed,
                   LINES_A_SECOND);
    }
    write_entry((enum log_level)level, script, &entry);
    return 0;
}
