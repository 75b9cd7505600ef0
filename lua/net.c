/* alacrity.net: sockets for checks, services and routes, which wait by yielding. On the thread that
 * owns the host.
 *
 * A call tries its work at once (net_try); when it must wait it leaves what it waits for in the run
 * and yields, and the loop resumes it. No function here raises or yields while it holds anything:
 * whatever it opened is the run's before Lua can notice. */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lua/run.h"

#define HANDLE "alacrity.socket"
#define IN_BYTES (SOCKET_BUFFER_BYTES + 2) /* the longest line has an end, too */

/* What a script holds. */
struct handle {
    uint64_t serial; /* of the socket it stands for */
    uint32_t place;  /* in run->sockets */
};

static char vm_key; /* registry: the state's struct vm */

static struct run *current_run(lua_State *lua) {
    lua_pushlightuserdata(lua, &vm_key);
    lua_rawget(lua, LUA_REGISTRYINDEX);
    const struct vm *vm = lua_touserdata(lua, -1);
    lua_pop(lua, 1);
    /* A state that rests is being made anew, on the builder: what runs meanwhile is not its own. */
    const struct runtime *runtime = vm->resting ? NULL : vm->host->runtime;
    struct run *run = runtime != NULL ? runtime->current : NULL;
    if (run == NULL) {
        luaL_error(lua, "alacrity.net works only while a check, a service or a route is asked");
        return NULL;
    }
    if (run->thread != lua) {
        luaL_error(lua, "alacrity.net does not work inside a coroutine of your own");
        return NULL;
    }
    return run;
}

/* The same for what may have to wait: Lua cannot be left in the middle of a C function that calls
 * back, such as string.gsub. Seen before anything is begun, so that nothing is left behind. */
static struct run *waiting_run(lua_State *lua) {
    struct run *run = current_run(lua);
    if (!lua_isyieldable(lua)) {
        luaL_error(lua, "alacrity.net cannot wait inside a function that another one calls back");
    }
    return run;
}

static const char *error_word(int error) {
    switch (error) {
    case ECONNREFUSED:
        return "refused";
    case ECONNRESET:
    case EPIPE:
        return "reset";
    case ETIMEDOUT:
        return "timeout";
    default:
        return strerror(error);
    }
}

static int push_failure(lua_State *lua, const char *why) {
    lua_pushnil(lua);
    lua_pushstring(lua, why);
    return 2;
}

/* ---- sockets ---- */

void socket_close(struct socket *socket) {
    struct run *run = socket->run;
    if (run->wait_socket == socket) { /* a wait that raised an error may have left it there */
        run->wait = WAIT_NOTHING;
        run->wait_socket = NULL;
    }
    run->runtime->machine->close(socket);
    free(socket->in);
    free(socket->out);
    free(socket);
}

static void watch(struct socket *socket, int events) {
    socket->run->runtime->machine->watch(socket, events);
}

static void on_ready(struct ev_loop *loop, struct ev_io *io, int events) {
    (void)loop;
    (void)events;
    struct socket *socket = container_of(io, struct socket, io);
    watch(socket, 0);
    run_ready(socket->run);
}

/* The socket behind argument 1, if it belongs to this run and is open; NULL: a failure to answer.
 */
static struct socket *check_socket(lua_State *lua, struct run *run) {
    const struct handle *handle = luaL_checkudata(lua, 1, HANDLE);
    struct socket *socket = run->sockets[handle->place];
    return socket != NULL && socket->serial == handle->serial ? socket : NULL;
}

/* Answers at once if it can, else waits. */
static int wait_for(lua_State *lua, struct run *run, enum wait wait, struct socket *socket,
                    double limit) {
    run_wait(run, wait, socket, limit);
    int results = net_try(lua, run);
    if (results >= 0) {
        run->wait = WAIT_NOTHING;
        run->runtime->machine->timer_stop(run->runtime, &run->wait_limit);
        return results;
    }
    return lua_yield(lua, 0);
}

/* Seconds; 0 = only the deadline of the whole run holds. */
static double limit_argument(lua_State *lua, int argument) {
    double limit = luaL_optnumber(lua, argument, 0);
    luaL_argcheck(lua, limit >= 0 && limit <= 86400, argument, "seconds, 0 to 86400");
    return limit;
}

static size_t size_argument(lua_State *lua, int argument, double otherwise) {
    double size = luaL_optnumber(lua, argument, otherwise);
    luaL_argcheck(lua, size >= 1 && size <= SOCKET_BUFFER_BYTES && floor(size) == size, argument,
                  "a whole number of bytes, 1 to 1048576");
    return (size_t)size;
}

/* ---- what can be awaited: each pushes its results and returns how many, or -1 to wait on ---- */

void net_push_socket(lua_State *lua, const struct run *run, uint32_t place) {
    struct handle *handle = lua_newuserdata(lua, sizeof(*handle));
    handle->serial = run->sockets[place]->serial;
    handle->place = place;
    luaL_getmetatable(lua, HANDLE);
    lua_setmetatable(lua, -2);
}

static uint32_t place_of(const struct run *run, const struct socket *socket) {
    uint32_t place = 0;
    while (run->sockets[place] != socket) {
        place++;
    }
    return place;
}

static int try_connect(lua_State *lua, struct run *run, struct socket *socket) {
    int error = run->runtime->machine->connect_error(socket);
    uint32_t place = place_of(run, socket);
    if (error != 0) {
        socket_close(socket);
        run->sockets[place] = NULL;
        return push_failure(lua, error_word(error));
    }
    net_push_socket(lua, run, place);
    return 1;
}

static int try_send(lua_State *lua, struct socket *socket) {
    while (socket->out_start < socket->out_end) {
        ssize_t sent = socket->run->runtime->machine->send(socket, socket->out + socket->out_start,
                                                           socket->out_end - socket->out_start);
        if (sent < 0) {
            if (errno == EAGAIN) {
                watch(socket, EV_WRITE);
                return -1;
            }
            return push_failure(lua, error_word(errno));
        }
        socket->out_start += (size_t)sent;
    }
    free(socket->out);
    socket->out = NULL;
    socket->out_start = socket->out_end = 0;
    lua_pushboolean(lua, 1);
    return 1;
}

/* Makes room for more. False: the buffer is full, or memory is out. */
static bool make_room(struct socket *socket) {
    if (socket->in_length < socket->in_capacity) {
        return true;
    }
    if (socket->in_capacity >= IN_BYTES) {
        return false;
    }
    size_t capacity = socket->in_capacity == 0 ? 2048 : socket->in_capacity * 2;
    if (capacity >= SOCKET_BUFFER_BYTES) {
        capacity = IN_BYTES;
    }
    char *in = realloc(socket->in, capacity);
    if (in == NULL) {
        return false;
    }
    socket->in = in;
    socket->in_capacity = capacity;
    return true;
}

/* Hands the first `length` bytes to the script and forgets `skip` more. */
static int take(lua_State *lua, struct socket *socket, size_t length, size_t skip) {
    lua_pushlstring(lua, socket->in, length);
    size_t gone = length + skip;
    socket->in_length -= gone;
    if (socket->in_length > 0) {
        memmove(socket->in, socket->in + gone, socket->in_length);
    }
    return 1;
}

/* Is what came in enough? Pushes it, or a failure that more bytes cannot mend; else -1. */
static int try_take(lua_State *lua, struct run *run, struct socket *socket) {
    switch (run->wait) {
    case WAIT_BYTES:
        return socket->in_length >= run->wanted ? take(lua, socket, run->wanted, 0) : -1;
    case WAIT_LINE: {
        const char *end =
            socket->in_length == 0 ? NULL : memchr(socket->in, '\n', socket->in_length);
        if (end == NULL) {
            bool half_end = socket->in_length > 0 && socket->in[socket->in_length - 1] == '\r';
            return socket->in_length - half_end > run->wanted ? push_failure(lua, "too long") : -1;
        }
        size_t length = (size_t)(end - socket->in);
        size_t bare = length > 0 && socket->in[length - 1] == '\r' ? length - 1 : length;
        if (bare > run->wanted) {
            return push_failure(lua, "too long");
        }
        return take(lua, socket, bare, length + 1 - bare);
    }
    case WAIT_CLOSE:
        return socket->in_length > run->wanted ? push_failure(lua, "too long") : -1;
    default: /* WAIT_SOME */
        if (socket->in_length == 0) {
            return -1;
        }
        return take(lua, socket, socket->in_length < run->wanted ? socket->in_length : run->wanted,
                    0);
    }
}

static int try_receive(lua_State *lua, struct run *run, struct socket *socket) {
    for (;;) {
        int results = try_take(lua, run, socket);
        if (results >= 0) {
            return results;
        }
        if (socket->ended) {
            if (run->wait == WAIT_CLOSE) {
                return take(lua, socket, socket->in_length, 0);
            }
            return push_failure(lua, "closed");
        }
        if (!make_room(socket)) {
            return push_failure(lua, "too long");
        }
        ssize_t received = run->runtime->machine->receive(socket, socket->in + socket->in_length,
                                                          socket->in_capacity - socket->in_length);
        if (received < 0) {
            if (errno == EAGAIN) {
                watch(socket, EV_READ);
                return -1;
            }
            return push_failure(lua, error_word(errno));
        }
        socket->ended = received == 0;
        socket->in_length += (size_t)received;
    }
}

int net_try(lua_State *lua, struct run *run) {
    struct socket *socket = run->wait_socket;
    switch (run->wait) {
    case WAIT_NOTHING:
    case WAIT_SLEEP:
    case WAIT_ANSWER:
        return -1;
    case WAIT_CONNECT:
        return try_connect(lua, run, socket);
    case WAIT_SEND:
        return try_send(lua, socket);
    default:
        return try_receive(lua, run, socket);
    }
}

int net_timed_out(lua_State *lua, struct run *run) {
    struct socket *socket = run->wait_socket;
    if (run->wait == WAIT_SLEEP) {
        lua_pushboolean(lua, 1);
        return 1;
    }
    watch(socket, 0);
    if (run->wait == WAIT_CONNECT) {
        uint32_t place = place_of(run, socket);
        socket_close(socket);
        run->sockets[place] = NULL;
    }
    return push_failure(lua, "timeout");
}

/* ---- what scripts call ---- */

/* Argument 1: the backend that is checked, or an address as text. Of unix sockets only that of the
 * backend: behind the others are admin sockets, ours among them, which ask nobody for a password.
 */
static void target_argument(lua_State *lua, const struct run *run, struct address *out) {
    if (lua_type(lua, 1) == LUA_TSTRING) {
        char error[128];
        if (address_parse(lua_tostring(lua, 1), out, error, sizeof(error)) != ADDRESS_NUMERIC) {
            luaL_error(lua, "net.connect() needs a numeric address such as 127.0.0.1:80, not '%s'",
                       lua_tostring(lua, 1));
        }
        if (out->any.sa_family == AF_UNIX && !address_equal(out, &run->address)) {
            luaL_error(lua, "net.connect() reaches no unix socket but that of the backend");
        }
        return;
    }
    luaL_argcheck(lua, run->address.length > 0 && !lua_isnoneornil(lua, 1), 1,
                  "the backend that is checked, or an address as text");
    *out = run->address;
}

/* A place for one more socket; RUN_SOCKETS: there is none. */
static uint32_t free_place(const struct run *run) {
    uint32_t place = 0;
    while (place < RUN_SOCKETS && run->sockets[place] != NULL) {
        place++;
    }
    return place;
}

struct socket *net_socket_new(struct run *run, uint32_t place) {
    struct socket *socket = calloc(1, sizeof(*socket));
    if (socket != NULL) {
        socket->run = run;
        socket->serial = ++run->runtime->next_serial;
        ev_init(&socket->io, on_ready);
        run->sockets[place] = socket;
    }
    return socket;
}

/* Starts to connect. NULL: errno. */
static struct socket *open_socket(struct run *run, uint32_t place, const struct address *address) {
    struct socket *opened = net_socket_new(run, place);
    if (opened == NULL) {
        return NULL;
    }
    int error = run->runtime->machine->connect(opened, address);
    if (error != 0) {
        run->sockets[place] = NULL;
        free(opened);
        errno = error;
        return NULL;
    }
    return opened;
}

static int net_connect(lua_State *lua) {
    struct run *run = waiting_run(lua);
    struct address address;
    target_argument(lua, run, &address);
    double limit = 0;
    if (!lua_isnoneornil(lua, 2)) {
        luaL_argcheck(lua, lua_istable(lua, 2), 2, "a table such as {timeout = 0.5}");
        lua_getfield(lua, 2, "timeout");
        limit = limit_argument(lua, lua_gettop(lua));
    }
    uint32_t place = free_place(run);
    if (place == RUN_SOCKETS) {
        return push_failure(lua, "too many sockets");
    }
    struct socket *socket = open_socket(run, place, &address);
    if (socket == NULL) {
        return push_failure(lua, error_word(errno));
    }
    run_wait(run, WAIT_CONNECT, socket, limit);
    watch(socket, EV_WRITE);
    return lua_yield(lua, 0);
}

static int net_sleep(lua_State *lua) {
    struct run *run = waiting_run(lua);
    double seconds = limit_argument(lua, 1);
    return wait_for(lua, run, WAIT_SLEEP, NULL, seconds > 0 ? seconds : 1e-6);
}

static int socket_send(lua_State *lua) {
    struct run *run = waiting_run(lua);
    struct socket *socket = check_socket(lua, run);
    size_t length;
    const char *bytes = luaL_checklstring(lua, 2, &length);
    double limit = limit_argument(lua, 3);
    if (socket == NULL) {
        return push_failure(lua, "closed");
    }
    if (length > SOCKET_BUFFER_BYTES) {
        return push_failure(lua, "too long");
    }
    free(socket->out);
    socket->out = malloc(length + 1);
    if (socket->out == NULL) {
        return push_failure(lua, "out of memory");
    }
    memcpy(socket->out, bytes, length);
    socket->out_start = 0;
    socket->out_end = length;
    return wait_for(lua, run, WAIT_SEND, socket, limit);
}

static int receive(lua_State *lua, enum wait wait, double otherwise) {
    struct run *run = waiting_run(lua);
    struct socket *socket = check_socket(lua, run);
    size_t wanted = size_argument(lua, 2, otherwise);
    double limit = limit_argument(lua, 3);
    if (socket == NULL) {
        return push_failure(lua, "closed");
    }
    run->wanted = wanted;
    return wait_for(lua, run, wait, socket, limit);
}

static int socket_receive(lua_State *lua) {
    luaL_checknumber(lua, 2);
    return receive(lua, WAIT_BYTES, 1);
}

static int socket_receive_line(lua_State *lua) {
    return receive(lua, WAIT_LINE, 8192);
}

static int socket_receive_all(lua_State *lua) {
    return receive(lua, WAIT_CLOSE, SOCKET_BUFFER_BYTES);
}

static int socket_receive_some(lua_State *lua) {
    return receive(lua, WAIT_SOME, 65536);
}

static int socket_close_call(lua_State *lua) {
    struct run *run = current_run(lua);
    struct socket *socket = check_socket(lua, run);
    if (socket != NULL) {
        run->sockets[place_of(run, socket)] = NULL;
        socket_close(socket);
    }
    return 0;
}

void net_open(struct vm *vm) {
    static const luaL_Reg methods[] = {{"send", socket_send},
                                       {"receive", socket_receive},
                                       {"receive_line", socket_receive_line},
                                       {"receive_all", socket_receive_all},
                                       {"receive_some", socket_receive_some},
                                       {"close", socket_close_call},
                                       {NULL, NULL}};
    static const luaL_Reg functions[] = {
        {"connect", net_connect}, {"sleep", net_sleep}, {NULL, NULL}};
    lua_State *lua = vm->lua;
    lua_pushlightuserdata(lua, &vm_key);
    lua_pushlightuserdata(lua, vm);
    lua_rawset(lua, LUA_REGISTRYINDEX);

    luaL_newmetatable(lua, HANDLE);
    lua_newtable(lua);
    luaL_setfuncs(lua, methods, 0);
    lua_setfield(lua, -2, "__index");
    lua_pushboolean(lua, 0);
    lua_setfield(lua, -2, "__metatable"); /* scripts cannot reach the methods' table to change it */
    lua_pop(lua, 1);

    lua_newtable(lua);
    luaL_setfuncs(lua, functions, 0);
    vm_set_module(vm, "alacrity.net");
}
