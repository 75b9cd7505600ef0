/* Scripts: finding their text, loading it into an environment of its own, checking the module it
 * returns, and constructing instances. Runs on the builder, before the host is handed over.
 *
 * Files are read here, and only here: a `require` of a file that was not loaded by then is refused,
 * so that no pick ever waits for a disk. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lua/guard.h"
#include "lua/options.h"
#include "lua/state.h"

#define API 1

#define HOOKS_MAX 3
static const struct {
    const char *word, *folder;
    const char *hooks[HOOKS_MAX]; /* what is called of an instance; the first one must be there */
} kinds[SCRIPT_KIND_COUNT] = {
    [SCRIPT_POLICY] = {"policy", "policies", {"pick", "on_close", "snapshot"}},
    [SCRIPT_CHECK] = {"check", "checks", {"check"}},
    [SCRIPT_SERVICE] = {"service", "services", {"serve"}},
    [SCRIPT_ROUTE] = {"route", "routes", {"route"}},
    [SCRIPT_TEST] = {"test", "tests", {""}},
};
static const char *const module_fields[] = {"api", "kind", "name", "options", "new"};
#define MODULE_FIELDS (sizeof(module_fields) / sizeof(module_fields[0]))

const char *script_chunk_name(const struct script *script, char *buffer, size_t bytes) {
    if (script->path != NULL) {
        return script->name;
    }
    snprintf(buffer, bytes, "scripts/%s/%s.lua", kinds[script->kind].folder, script->name);
    return buffer;
}

void script_free(struct script *script) {
    free(script->name);
    free(script->path);
    free(script);
}

/* Compiles text and gives it the environment at `environment`; pushes the function. Returns 0 or
 * the error status with the message pushed; never raises. The text may be freed afterwards. */
static int compile(lua_State *lua, const char *text, size_t length, const char *chunk_name,
                   int environment) {
    int status = luaL_loadbufferx(lua, text, length, chunk_name, "t");
    if (status == 0) {
        lua_pushvalue(lua, environment);
        lua_setfenv(lua, -2);
    }
    return status;
}

/* ---- require ---- */

/* Raises at the line of the script that called require, two levels up: the prelude's is between. */
__attribute__((format(printf, 2, 3))) static int require_error(lua_State *lua, const char *format,
                                                               ...) {
    va_list arguments;
    luaL_where(lua, 2);
    va_start(arguments, format);
    lua_pushvfstring(lua, format, arguments);
    va_end(arguments);
    lua_concat(lua, 2);
    return lua_error(lua);
}

int state_load_builtin(lua_State *lua) {
    const char *name = luaL_checkstring(lua, 1);
    size_t length = 0;
    /* The prelude makes the cage; nobody inside may load it again. */
    const char *text = strcmp(name, "prelude") != 0 ? vm_builtin("alacrity", name, &length) : NULL;
    luaL_checktype(lua, 2, LUA_TTABLE);
    if (strcmp(name, "net") == 0) { /* who may have it never comes here */
        return require_error(lua, "alacrity.net is for checks, services and routes: a policy's "
                                  "pick may not wait");
    }
    if (text == NULL) {
        return require_error(lua, "there is no library module 'alacrity.%s'", name);
    }
    const char *chunk_name = lua_pushfstring(lua, "@alacrity.%s", name);
    return compile(lua, text, length, chunk_name, 2) == 0 ? 1 : lua_error(lua);
}

int state_load_file(lua_State *lua) {
    struct vm *vm = lua_touserdata(lua, lua_upvalueindex(1));
    const struct snapshot *snapshot = vm->host->snapshot;
    const char *name = luaL_checkstring(lua, 1); /* letters, digits, _ - and single dots */
    luaL_checktype(lua, 2, LUA_TTABLE);
    if (!vm->loading && !vm->reads_files) {
        return require_error(lua,
                             "module '%s' was not loaded at the start; require it at the top of "
                             "the script",
                             name);
    }
    const char *file = luaL_gsub(lua, name, ".", "/");
    for (uint32_t i = 0; snapshot != NULL && i < snapshot->lua.path_count; i++) {
        const char *path = lua_pushfstring(lua, "%s/%s.lua", snapshot->lua.path[i], file);
        const char *chunk_name = lua_pushfstring(lua, "@%s", path);
        errno = ENOENT; /* stock scripts have no files */
        const struct source_module *module =
            vm->source != NULL ? source_module(vm->source, path) : NULL;
        if (module == NULL && errno != ENOENT && errno != ENOTDIR) {
            return require_error(lua, "cannot read module %s: %s", path, source_error(errno));
        }
        if (module != NULL) {
            int status = compile(lua, module->text, module->length, chunk_name, 2);
            return status == 0 ? 1 : lua_error(lua);
        }
    }
    return require_error(lua, "there is no module '%s' in lua.path", name);
}

/* ---- loading ---- */

/* Leaves the field on the stack: a metatable may have made the string for this one look. */
static const char *field_string(lua_State *lua, int table, const char *field) {
    lua_getfield(lua, table, field);
    return lua_type(lua, -1) == LUA_TSTRING ? lua_tostring(lua, -1) : NULL;
}

/* Raises when the module has a field that nobody would ever look at. */
static void check_fields(lua_State *lua, int module) {
    for (lua_pushnil(lua); lua_next(lua, module) != 0; lua_pop(lua, 1)) {
        bool known = false;
        if (lua_type(lua, -2) != LUA_TSTRING) {
            luaL_error(lua, "the module has an unknown field, whose key is a %s value",
                       luaL_typename(lua, -2));
        }
        const char *field = lua_tostring(lua, -2);
        for (size_t i = 0; i < MODULE_FIELDS; i++) {
            known = known || strcmp(field, module_fields[i]) == 0;
        }
        if (!known) {
            const char *near = nearest_word(field, module_fields, MODULE_FIELDS);
            luaL_error(lua, "unknown field '%s' of the module; %s%s%s", field,
                       near != NULL ? "did you mean '" : "it has api, kind, name, options and new",
                       near != NULL ? near : "", near != NULL ? "'?" : "");
        }
    }
}

/* The module table is on top of the stack. Raises with what is wrong. */
static void check_module(lua_State *lua, const struct script *script) {
    const char *wanted = kinds[script->kind].word;
    if (!lua_istable(lua, -1)) {
        luaL_error(lua,
                   "a script must return a table; write return {api = 1, kind = \"%s\", "
                   "name = ..., new = function(cfg) ... end}",
                   wanted);
    }
    int module = lua_gettop(lua);
    check_fields(lua, module);
    lua_getfield(lua, module, "api");
    if (lua_type(lua, -1) != LUA_TNUMBER || lua_tonumber(lua, -1) != API) {
        luaL_error(lua, "api must be %d", API);
    }
    lua_getfield(lua, module, "new");
    if (!lua_isfunction(lua, -1)) {
        luaL_error(lua, "new must be a function(cfg) that returns the instance");
    }
    const char *kind = field_string(lua, module, "kind");
    if (kind == NULL || strcmp(kind, wanted) != 0) {
        luaL_error(lua, "this is a %s, but it is used as a %s; kind must be \"%s\"",
                   kind != NULL ? kind : "script without a kind", wanted, wanted);
    }
    if (field_string(lua, module, "name") == NULL) {
        luaL_error(lua, "name must be a string");
    }
    lua_settop(lua, module);
}

/* Under guard_cfunction; argument: the script. */
static int load_module(lua_State *lua) {
    struct script *script = lua_touserdata(lua, 1);
    char buffer[300];
    const char *chunk_name =
        lua_pushfstring(lua, "@%s", script_chunk_name(script, buffer, sizeof(buffer)));
    state_push_prelude(script->vm, lua, "sandbox");
    lua_call(lua, 0, 1);
    int status = compile(lua, script->text, script->length, chunk_name, lua_gettop(lua));
    if (status != 0) {
        return lua_error(lua);
    }
    if (script->kind != SCRIPT_TEST) { /* a test's file is run later, as a coroutine */
        lua_call(lua, 0, 1);
        check_module(lua, script);
    }
    script->module_ref = luaL_ref(lua, LUA_REGISTRYINDEX);
    return 0;
}

static struct vm *find_state(const struct script_host *host, const char *path) {
    for (struct vm *vm = host->states; vm != NULL; vm = vm->next) {
        if ((path == NULL && vm->path == NULL) ||
            (path != NULL && vm->path != NULL && strcmp(path, vm->path) == 0)) {
            return vm;
        }
    }
    return NULL;
}

static struct script *find_script(const struct script_host *host, const struct script_use *use,
                                  enum script_kind kind) {
    for (struct script *script = host->scripts; script != NULL; script = script->next) {
        if (script->kind != kind || (script->path == NULL) != (use->path == NULL)) {
            continue;
        }
        if (use->path != NULL ? strcmp(script->path, use->path) == 0
                              : strcmp(script->name, use->name) == 0) {
            return script;
        }
    }
    return NULL;
}

static struct script *script_new(const struct script_use *use, enum script_kind kind) {
    struct script *script = calloc(1, sizeof(*script));
    if (script == NULL) {
        return NULL;
    }
    script->kind = kind;
    script->use = use;
    script->module_ref = LUA_NOREF;
    script->name = strdup(use->name);
    script->path = use->path != NULL ? strdup(use->path) : NULL;
    if (script->name == NULL || (use->path != NULL && script->path == NULL)) {
        script_free(script);
        return NULL;
    }
    return script;
}

bool vm_reload(struct script *script, struct messages *messages) {
    struct vm *vm = script->vm;
    uint32_t stage = vm->library.stage;
    vm->loading = true;
    vm->library.stage = ALACRITY_BUILDING;
    vm->acting = (struct acting){.script = script};
    int status = guard_cfunction(vm, load_module, script);
    vm->library.stage = stage;
    vm->loading = false;
    if (status != 0) {
        vm_add_error(script, vm->lua, "loaded", script->use, messages);
    }
    return status == 0;
}

/* The state for the script, with its source; made when the host has none yet. NULL: messages. */
static struct vm *state_for(struct script_host *host, const struct script_use *use,
                            struct messages *messages) {
    char error[256];
    struct vm *vm = find_state(host, use->path);
    if (vm != NULL) {
        return vm;
    }
    struct script_source *source = NULL;
    if (use->path != NULL) { /* what belongs to no snapshot is read here */
        source = use->source != NULL ? source_hold(use->source) : source_load(use->path);
        if (source == NULL) {
            messages_add(messages, use->at, "cannot read the script %s: %s", use->name,
                         source_error(errno));
            return NULL;
        }
    }
    vm = state_new(host, use->path, use->name, source, error, sizeof(error));
    source_release(source); /* the state has its own reference */
    if (vm == NULL) {
        messages_add(messages, use->at, "cannot make a Lua state for script %s: %s", use->name,
                     error);
    }
    return vm;
}

/* Finds the text and loads it into the right state. False: messages. */
static bool load_script(struct script_host *host, struct script *script,
                        const struct script_use *use, struct messages *messages) {
    if (use->path == NULL) {
        script->text = vm_builtin(kinds[script->kind].folder, use->name, &script->length);
        if (script->text == NULL) {
            messages_add(messages, use->at, "there is no stock %s '%s'", kinds[script->kind].word,
                         use->name);
            return false;
        }
    }
    script->vm = state_for(host, use, messages);
    if (script->vm == NULL) {
        return false;
    }
    if (script->vm->lost) {
        messages_add(messages, use->at, "script %s: another script in its state was stopped",
                     script->name);
        return false;
    }
    if (use->path != NULL) {
        script->text = script->vm->source->text;
        script->length = script->vm->source->length;
    }
    return vm_reload(script, messages);
}

struct script *vm_script(struct script_host *host, const struct script_use *use,
                         enum script_kind kind, struct messages *messages) {
    struct script *script = find_script(host, use, kind);
    if (script != NULL) {
        return script;
    }
    script = script_new(use, kind);
    if (script == NULL) {
        messages_add(messages, use->at, "out of memory");
        return NULL;
    }
    if (!load_script(host, script, use, messages)) {
        script_free(script);
        return NULL;
    }
    script->next = host->scripts;
    host->scripts = script;
    return script;
}

/* ---- instances ---- */

struct constructing {
    struct script *script;
    const struct script_use *use;
    const struct carry *carry;
    struct messages *messages;
    int instance_ref;
};

/* Pushes what the version before left, or nil. */
static void push_carry(lua_State *lua, const struct script *script, int module,
                       const struct carry *carry) {
    const char *name = field_string(lua, module, "name");
    if (carry == NULL || name == NULL || strcmp(carry->script, name) != 0) {
        lua_pushnil(lua);
        lua_remove(lua, -2); /* the name */
        return;
    }
    state_push_prelude(script->vm, lua, "decode");
    lua_pushlstring(lua, carry->bytes, carry->length);
    lua_call(lua, 1, 1);
    lua_remove(lua, -2);
}

static void check_methods(lua_State *lua, int table, const char *const *missing, uint32_t count) {
    for (lua_pushnil(lua); lua_next(lua, table) != 0; lua_pop(lua, 1)) {
        bool named = lua_type(lua, -2) == LUA_TSTRING && lua_isfunction(lua, -1);
        const char *near = named ? nearest_word(lua_tostring(lua, -2), missing, count) : NULL;
        if (near != NULL) {
            luaL_error(lua, "what new returned has a method '%s'; did you mean '%s'?",
                       lua_tostring(lua, -2), near);
        }
    }
}

/* The instance is on top of the stack. It may have whatever it likes; but a method that is called
 * nearly as a hook it lacks was meant to be that. Raises. */
static void check_hooks(lua_State *lua, enum script_kind kind) {
    const char *missing[HOOKS_MAX];
    uint32_t count = 0;
    int instance = lua_gettop(lua);
    for (int i = 0; i < HOOKS_MAX && kinds[kind].hooks[i] != NULL; i++) {
        lua_getfield(lua, instance, kinds[kind].hooks[i]);
        if (lua_isnil(lua, -1)) {
            missing[count++] = kinds[kind].hooks[i];
        }
        lua_pop(lua, 1);
    }
    check_methods(lua, instance, missing, count);
    if (luaL_getmetafield(lua, instance, "__index") != 0) { /* a class */
        if (lua_istable(lua, -1)) {
            check_methods(lua, lua_gettop(lua), missing, count);
        }
        lua_pop(lua, 1);
    }
}

/* Under guard_cfunction; argument: struct constructing. */
static int construct(lua_State *lua) {
    struct constructing *constructing = lua_touserdata(lua, 1);
    const struct script *script = constructing->script;
    const char *method = kinds[script->kind].hooks[0];
    lua_rawgeti(lua, LUA_REGISTRYINDEX, script->module_ref);
    int module = lua_gettop(lua);
    if (!options_push(lua, script, constructing->use, constructing->messages)) {
        return 0; /* said; instance_ref stays LUA_NOREF */
    }
    lua_getfield(lua, module, "new");
    lua_insert(lua, -2);
    push_carry(lua, script, module, constructing->carry);
    lua_call(lua, 2, 1);
    if (!lua_istable(lua, -1)) {
        return luaL_error(lua, "new must return a table with the method %s, not a %s value", method,
                          luaL_typename(lua, -1));
    }
    check_hooks(lua, script->kind);
    lua_getfield(lua, -1, method);
    if (!lua_isfunction(lua, -1)) {
        return luaL_error(lua, "what new returned has no method %s", method);
    }
    lua_pop(lua, 1);
    constructing->instance_ref = luaL_ref(lua, LUA_REGISTRYINDEX);
    return 0;
}

int vm_instance(struct script *script, const struct script_use *use, const struct carry *carry,
                struct messages *messages) {
    struct vm *vm = script->vm;
    struct constructing constructing = {.script = script,
                                        .use = use,
                                        .carry = carry,
                                        .messages = messages,
                                        .instance_ref = LUA_NOREF};
    if (vm->lost) { /* another instance of it, a moment ago: that was told */
        return LUA_NOREF;
    }
    uint32_t stage = vm->library.stage;
    vm->loading = true;
    vm->library.stage = ALACRITY_BUILDING;
    int status = guard_cfunction(vm, construct, &constructing);
    vm->library.stage = stage;
    vm->loading = false;
    if (status != 0) {
        vm_add_error(script, vm->lua, "constructed", use, messages);
        return LUA_NOREF;
    }
    return constructing.instance_ref;
}
