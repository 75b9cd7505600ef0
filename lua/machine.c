/* The real machine: what runs reach through the loop and the kernel. Owner of the host. */
#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lua/run.h"

static struct ev_loop *loop_of(const struct socket *socket) {
    return socket->run->runtime->loop;
}

static void timer_start(struct runtime *runtime, struct ev_timer *timer, double seconds) {
    ev_now_update(runtime->loop); /* the script has run since this turn of the loop began */
    ev_now_update(runtime->loop); /* scripts have run since this turn began */
    ev_timer_set(timer, seconds, 0);
    ev_timer_start(runtime->loop, timer);
}

static void timer_stop(struct runtime *runtime, struct ev_timer *timer) {
    ev_timer_stop(runtime->loop, timer);
}

static int start_connect(struct socket *opened, const struct address *address) {
    int descriptor = socket(address->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (descriptor < 0) {
        return errno;
    }
    if (connect(descriptor, &address->any, address->length) != 0 && errno != EINPROGRESS) {
        int error = errno;
        close(descriptor);
        return error;
    }
    ev_io_set(&opened->io, descriptor, EV_WRITE);
    return 0;
}

static int connect_error(struct socket *socket) {
    int error = 0;
    socklen_t length = sizeof(error);
    if (getsockopt(socket->io.fd, SOL_SOCKET, SO_ERROR, &error, &length) != 0) {
        error = errno;
    }
    return error;
}

static ssize_t send_bytes(struct socket *socket, const char *bytes, size_t length) {
    return send(socket->io.fd, bytes, length, MSG_NOSIGNAL);
}

static ssize_t receive_bytes(struct socket *socket, char *bytes, size_t length) {
    return recv(socket->io.fd, bytes, length, 0);
}

static void watch(struct socket *socket, int events) {
    ev_io_stop(loop_of(socket), &socket->io);
    if (events != 0) {
        ev_io_modify(&socket->io, events);
        ev_io_start(loop_of(socket), &socket->io);
    }
}

static void close_socket(struct socket *socket) {
    ev_io_stop(loop_of(socket), &socket->io);
    close(socket->io.fd);
}

const struct machine machine_real = {
    .timer_start = timer_start,
    .timer_stop = timer_stop,
    .connect = start_connect,
    .connect_error = connect_error,
    .send = send_bytes,
    .receive = receive_bytes,
    .watch = watch,
    .close = close_socket,
};
