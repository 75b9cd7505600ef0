/* Load generator: short connections, a fixed number of them, CONCURRENCY at a time.
 *
 *   loadgen HOST PORT COUNT CONCURRENCY
 *
 * Each connects, sends 32 bytes, reads 64, compares them, reads the end of the stream and closes.
 * Prints one line: "COUNT ok, N failed, SECONDS s". One thread, one epoll set. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "wire.h"

#define EVENTS 256

struct client {
    int socket;
    uint64_t number;
    bool asked;
    size_t received;
    unsigned char answer[ANSWER_BYTES];
};

static struct sockaddr_in target;
static int set;
static uint64_t started, finished, failed, goal;

static void fail(const struct client *client, const char *what) {
    failed++;
    if (failed <= 5) {
        fprintf(stderr, "session %llu: %s: %s\n", (unsigned long long)client->number, what,
                strerror(errno));
    }
}

static void open_next(struct client *client);

static void end(struct client *client) {
    close(client->socket);
    finished++;
    open_next(client);
}

static void open_next(struct client *client) {
    if (started == goal) {
        client->socket = -1;
        return;
    }
    *client = (struct client){.number = started++};
    client->socket = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (client->socket < 0) {
        perror("socket");
        exit(1);
    }
    if (connect(client->socket, (struct sockaddr *)&target, sizeof(target)) != 0 &&
        errno != EINPROGRESS) {
        perror("connect");
        exit(1);
    }
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = client};
    if (epoll_ctl(set, EPOLL_CTL_ADD, client->socket, &event) != 0) {
        perror("epoll_ctl");
        exit(1);
    }
}

static void ask(struct client *client) {
    unsigned char question[QUESTION_BYTES];
    wire_question(client->number, question);
    ssize_t sent = send(client->socket, question, sizeof(question), MSG_NOSIGNAL);
    if (sent == (ssize_t)sizeof(question)) {
        client->asked = true;
    } else if (sent >= 0 || errno != EAGAIN) {
        fail(client, "send");
        end(client);
    }
}

static void check(struct client *client) {
    unsigned char question[QUESTION_BYTES], expected[ANSWER_BYTES];
    wire_question(client->number, question);
    wire_answer(question, expected);
    if (client->received != ANSWER_BYTES) {
        errno = 0;
        fail(client, "the answer is too short");
    } else if (memcmp(expected, client->answer, ANSWER_BYTES) != 0) {
        errno = 0;
        fail(client, "a wrong answer");
    }
    end(client);
}

static void receive(struct client *client) {
    for (;;) {
        unsigned char surplus;
        bool full = client->received == ANSWER_BYTES;
        ssize_t got = recv(client->socket, full ? &surplus : client->answer + client->received,
                           full ? 1 : ANSWER_BYTES - client->received, 0);
        if (got < 0) {
            if (errno != EAGAIN) {
                fail(client, "recv");
                end(client);
            }
            return;
        }
        if (got == 0 || full) {
            client->received += (size_t)got; /* a surplus byte makes the length wrong */
            check(client);
            return;
        }
        client->received += (size_t)got;
    }
}

int main(int argc, char **argv) {
    if (argc != 5) {
        fprintf(stderr, "loadgen HOST PORT COUNT CONCURRENCY\n");
        return 2;
    }
    target.sin_family = AF_INET;
    target.sin_port = htons((uint16_t)atoi(argv[2]));
    goal = strtoull(argv[3], NULL, 10);
    size_t concurrency = strtoull(argv[4], NULL, 10);
    struct client *clients = calloc(concurrency, sizeof(*clients));
    set = epoll_create1(EPOLL_CLOEXEC);
    if (inet_pton(AF_INET, argv[1], &target.sin_addr) != 1 || clients == NULL || set < 0) {
        fprintf(stderr, "loadgen: cannot start\n");
        return 2;
    }
    struct timespec from, to;
    clock_gettime(CLOCK_MONOTONIC, &from);
    for (size_t i = 0; i < concurrency; i++) {
        open_next(&clients[i]);
    }
    while (finished < goal) {
        struct epoll_event events[EVENTS];
        int count = epoll_wait(set, events, EVENTS, 10000);
        if (count == 0) {
            fprintf(stderr, "loadgen: nothing moves, %llu of %llu done\n",
                    (unsigned long long)finished, (unsigned long long)goal);
            return 1;
        }
        for (int i = 0; i < count; i++) {
            struct client *client = events[i].data.ptr;
            if (!client->asked && (events[i].events & EPOLLOUT) != 0) {
                ask(client);
            } else if (client->asked || (events[i].events & (EPOLLERR | EPOLLHUP)) != 0) {
                receive(client);
            }
        }
    }
    clock_gettime(CLOCK_MONOTONIC, &to);
    double seconds = (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9;
    printf("%llu ok, %llu failed, %.3f s\n", (unsigned long long)(goal - failed),
           (unsigned long long)failed, seconds);
    free(clients);
    return failed == 0 ? 0 : 1;
}
