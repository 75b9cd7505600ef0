/* Responder: the backend of the benchmark. Answers 32 bytes with 64 and closes.
 *
 *   responder PORT...        prints "ready" once it listens on all of them (127.0.0.1)
 *
 * One thread, one epoll set. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "wire.h"

#define EVENTS 256

struct peer {
    int socket;
    int listens;
    size_t received;
    unsigned char question[QUESTION_BYTES];
};

static int set;

static void watch(struct peer *peer) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = peer};
    if (epoll_ctl(set, EPOLL_CTL_ADD, peer->socket, &event) != 0) {
        perror("epoll_ctl");
        exit(1);
    }
}

static struct peer *peer_new(int socket, int listens) {
    struct peer *peer = calloc(1, sizeof(*peer));
    if (peer == NULL) {
        exit(1);
    }
    peer->socket = socket;
    peer->listens = listens;
    watch(peer);
    return peer;
}

static void take(const struct peer *listener) {
    int socket;
    while ((socket = accept4(listener->socket, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        peer_new(socket, 0);
    }
}

static void serve(struct peer *peer) {
    ssize_t got =
        recv(peer->socket, peer->question + peer->received, QUESTION_BYTES - peer->received, 0);
    if (got > 0) {
        peer->received += (size_t)got;
        if (peer->received < QUESTION_BYTES) {
            return;
        }
        unsigned char answer[ANSWER_BYTES];
        wire_answer(peer->question, answer);
        if (send(peer->socket, answer, sizeof(answer), MSG_NOSIGNAL) != (ssize_t)sizeof(answer)) {
            perror("send");
        }
    }
    close(peer->socket);
    free(peer);
}

int main(int argc, char **argv) {
    set = epoll_create1(EPOLL_CLOEXEC);
    for (int i = 1; i < argc; i++) {
        int on = 1;
        int listening = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        struct sockaddr_in address = {.sin_family = AF_INET,
                                      .sin_port = htons((uint16_t)atoi(argv[i])),
                                      .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        if (setsockopt(listening, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
            bind(listening, (struct sockaddr *)&address, sizeof(address)) != 0 ||
            listen(listening, 4096) != 0) {
            perror(argv[i]);
            return 1;
        }
        (void)peer_new(listening, 1);
    }
    puts("ready");
    fflush(stdout);
    for (;;) {
        struct epoll_event events[EVENTS];
        int count = epoll_wait(set, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            struct peer *peer = events[i].data.ptr;
            if (peer->listens) {
                take(peer);
            } else {
                serve(peer);
            }
        }
    }
}
