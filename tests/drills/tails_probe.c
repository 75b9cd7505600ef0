/* Probe of tests/drills/tails.py: a steady load far below saturation. Each request is due at a time
 * that was fixed beforehand, and its latency counts from there, whatever those before it took.
 *
 *   tails_probe PORT SECONDS STAYING STAYING_RATE SHORT_RATE
 *
 * STAYING connections stay open and ask STAYING_RATE times a second together; short ones are opened
 * SHORT_RATE times a second. Every answer is compared. Writes to standard output, for each request,
 * two doubles: 0 (staying) or 1 (short), and the latency in seconds. */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "../bench/wire.h"

#define DUE_MAX 1024 /* requests of one connection that wait for their answer */

struct client {
    int socket; /* -1: none */
    bool stays;
    uint64_t asked, answered;
    double due[DUE_MAX]; /* of request n at n modulo DUE_MAX */
    size_t received;
    unsigned char answer[ANSWER_BYTES];
};

static struct sockaddr_in target = {.sin_family = AF_INET};
static int set;
static uint64_t open_requests;

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static _Noreturn void fail(const char *what) {
    fprintf(stderr, "tails_probe: %s: %s\n", what, strerror(errno));
    exit(1);
}

static struct client *open_client(bool stays) {
    struct client *client = calloc(1, sizeof(*client));
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = client};
    if (client == NULL) {
        fail("memory");
    }
    client->stays = stays;
    client->socket = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (client->socket < 0 ||
        (connect(client->socket, (struct sockaddr *)&target, sizeof(target)) != 0 &&
         errno != EINPROGRESS) ||
        epoll_ctl(set, EPOLL_CTL_ADD, client->socket, &event) != 0) {
        fail("connect");
    }
    return client;
}

static struct wire_question question(const struct client *client, uint64_t number) {
    return wire_ask(client->stays ? WIRE_STAY : WIRE_ONCE, number, 0);
}

static void ask(struct client *client, double due) {
    struct wire_question asked = question(client, client->asked);
    if (client->asked - client->answered == DUE_MAX) {
        errno = 0;
        fail("it does not answer any more");
    }
    client->due[client->asked++ % DUE_MAX] = due;
    open_requests++;
    if (send(client->socket, &asked, sizeof(asked), MSG_NOSIGNAL) != sizeof(asked)) {
        fail("send");
    }
}

static void take_answer(struct client *client) {
    unsigned char expected[ANSWER_BYTES];
    struct wire_question asked = question(client, client->answered);
    double sample[2] = {client->stays ? 0 : 1, now() - client->due[client->answered % DUE_MAX]};
    wire_answer(&asked, expected);
    if (memcmp(expected, client->answer, ANSWER_BYTES) != 0) {
        errno = 0;
        fail("a wrong answer");
    }
    fwrite(sample, sizeof(sample), 1, stdout);
    client->answered++;
    client->received = 0;
    open_requests--;
}

static void receive(struct client *client) {
    for (;;) {
        ssize_t got = recv(client->socket, client->answer + client->received,
                           ANSWER_BYTES - client->received, 0);
        if (got < 0 && errno == EAGAIN) {
            return;
        }
        if (got < 0 || (got == 0 && (client->stays || client->answered == 0))) {
            fail("recv");
        }
        if (got == 0) {
            close(client->socket);
            free(client);
            return;
        }
        client->received += (size_t)got;
        if (client->received == ANSWER_BYTES) {
            take_answer(client);
        }
    }
}

static void on_event(struct client *client, uint32_t events) {
    if (!client->stays && client->asked == 0) {
        if ((events & EPOLLOUT) == 0) {
            fail("connect");
        }
        double due = client->due[0];
        open_requests--; /* counted when it was due */
        ask(client, due);
    }
    if ((events & EPOLLIN) != 0) {
        receive(client);
    }
}

int main(int argc, char **argv) {
    if (argc != 6) {
        fprintf(stderr, "tails_probe PORT SECONDS STAYING STAYING_RATE SHORT_RATE\n");
        return 2;
    }
    double seconds = atof(argv[2]), staying_rate = atof(argv[4]), short_rate = atof(argv[5]);
    int count = atoi(argv[3]);
    struct client **staying = calloc((size_t)count, sizeof(struct client *));
    target.sin_port = htons((uint16_t)atoi(argv[1]));
    target.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    set = epoll_create1(EPOLL_CLOEXEC);
    if (staying == NULL || set < 0) {
        fail("start");
    }
    wire_start();
    (void)prctl(PR_SET_TIMERSLACK, 1);
    for (int i = 0; i < count; i++) {
        staying[i] = open_client(true);
    }
    double start = now() + 0.05; /* by then they are open */
    uint64_t asked = 0, opened = 0;
    for (;;) {
        double at = now(), end = start + seconds;
        double ask_due = start + (double)asked / staying_rate;
        double open_due = start + (double)opened / short_rate;
        if (ask_due < end && ask_due <= at) {
            ask(staying[asked++ % (uint64_t)count], ask_due);
            continue;
        }
        if (open_due < end && open_due <= at) {
            open_client(false)->due[0] = open_due;
            open_requests++;
            opened++;
            continue;
        }
        if (at > end && open_requests == 0) {
            break;
        }
        double next = ask_due < open_due ? ask_due : open_due;
        double wait = next < end ? next - at : 1;
        wait = wait < 0 ? 0 : wait;
        struct timespec time = {.tv_sec = (time_t)wait,
                                .tv_nsec = (long)((wait - (double)(time_t)wait) * 1e9)};
        struct epoll_event events[256];
        int ready = epoll_pwait2(set, events, 256, &time, NULL);
        if (at > end + 20) {
            errno = 0;
            fail("answers are missing");
        }
        for (int i = 0; i < ready; i++) {
            on_event(events[i].data.ptr, events[i].events);
        }
    }
    return fflush(stdout) == 0 ? 0 : 1;
}
