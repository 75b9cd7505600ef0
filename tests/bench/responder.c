/* Responder: the backends of the benchmark in one process. Does what a connection's question asks
 * for (wire.h), and closes one whose bytes are wrong without an answer.
 *
 *   responder PORT...        prints "ready" once it listens on all of them (127.0.0.1)
 *
 * One thread, one epoll set. */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "wire.h"

#define EVENTS 256

struct peer {
    int socket;
    bool listens;
    size_t received; /* of the question */
    struct wire_question question;
    uint64_t moved; /* bulk bytes */
};

static int set;
static unsigned char block[BLOCK_BYTES];

static _Noreturn void die(const char *what) {
    fprintf(stderr, "responder: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void peer_new(int socket, bool listens) {
    struct peer *peer = calloc(1, sizeof(*peer));
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = peer};
    if (peer == NULL || epoll_ctl(set, EPOLL_CTL_ADD, socket, &event) != 0) {
        die("a new connection");
    }
    peer->socket = socket;
    peer->listens = listens;
}

static void peer_close(struct peer *peer, const char *complaint) {
    if (complaint != NULL) {
        fprintf(stderr, "responder: connection %llu: %s\n",
                (unsigned long long)peer->question.number, complaint);
    }
    close(peer->socket);
    free(peer);
}

static void take(const struct peer *listener) {
    int socket;
    while ((socket = accept4(listener->socket, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        peer_new(socket, false);
    }
    if (errno != EAGAIN && errno != ECONNABORTED) {
        die("accept");
    }
}

/* Returns what is wrong, or NULL. */
static const char *answer(const struct peer *peer) {
    unsigned char out[ANSWER_BYTES];
    wire_answer(&peer->question, out);
    return send(peer->socket, out, sizeof(out), MSG_NOSIGNAL) == (ssize_t)sizeof(out) ? NULL
                                                                                      : "send";
}

static void give(struct peer *peer) {
    uint64_t left = peer->question.amount - peer->moved;
    ssize_t sent = send(peer->socket, wire_bulk(peer->question.number, peer->moved),
                        left < BLOCK_BYTES ? (size_t)left : (size_t)BLOCK_BYTES, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) {
        peer_close(peer, "send");
    } else if (sent > 0 && (peer->moved += (uint64_t)sent) == peer->question.amount) {
        peer_close(peer, NULL);
    }
}

static void collect(struct peer *peer) {
    ssize_t got = recv(peer->socket, block, sizeof(block), 0);
    if (got < 0 && errno == EAGAIN) {
        return;
    }
    if (got <= 0 || (uint64_t)got > peer->question.amount - peer->moved) {
        peer_close(peer, got > 0 ? "a byte too much" : "bytes are missing");
    } else if (memcmp(block, wire_bulk(peer->question.number, peer->moved), (size_t)got) != 0) {
        peer_close(peer, "wrong bytes");
    } else if ((peer->moved += (uint64_t)got) == peer->question.amount) {
        peer_close(peer, answer(peer));
    }
}

static void on_question(struct peer *peer) {
    struct epoll_event event = {.events = EPOLLOUT, .data.ptr = peer};
    const char *complaint = NULL;
    if (!wire_question_good(&peer->question)) {
        peer_close(peer, "a wrong question");
    } else if (peer->question.kind == WIRE_ONCE) {
        peer_close(peer, answer(peer));
    } else if (peer->question.kind == WIRE_STAY) {
        peer->received = 0;
        if ((complaint = answer(peer)) != NULL) {
            peer_close(peer, complaint);
        }
    } else if (peer->question.kind == WIRE_DOWN &&
               epoll_ctl(set, EPOLL_CTL_MOD, peer->socket, &event) != 0) {
        die("epoll_ctl");
    }
}

static void listen_at(const char *port) {
    int on = 1;
    int socket_made = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)atoi(port)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    if (setsockopt(socket_made, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        bind(socket_made, (struct sockaddr *)&address, sizeof(address)) != 0 ||
        listen(socket_made, 4096) != 0) {
        die(port);
    }
    peer_new(socket_made, true);
}

static void on_event(struct peer *peer) {
    if (peer->listens) {
        take(peer);
    } else if (peer->received == QUESTION_BYTES) {
        (peer->question.kind == WIRE_DOWN ? give : collect)(peer);
    } else {
        ssize_t got = recv(peer->socket, (unsigned char *)&peer->question + peer->received,
                           QUESTION_BYTES - peer->received, 0);
        if (got > 0) {
            peer->received += (size_t)got;
            if (peer->received == QUESTION_BYTES) {
                on_question(peer);
            }
        } else if (got == 0 || errno != EAGAIN) {
            peer_close(peer, NULL); /* a health check, or the end of a connection that stays */
        }
    }
}

int main(int argc, char **argv) {
    set = epoll_create1(EPOLL_CLOEXEC);
    wire_start();
    for (int i = 1; i < argc; i++) {
        listen_at(argv[i]);
    }
    puts("ready");
    fflush(stdout);
    for (;;) {
        struct epoll_event events[EVENTS];
        int count = epoll_wait(set, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            on_event(events[i].data.ptr);
        }
    }
}
