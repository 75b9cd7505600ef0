/* Load of questions and answers: short, latency, pingpong and idle are one machine with different
 * plans. A connection waits to be writable, asks, reads the answer, asks again as often as planned;
 * a short one then reads the end of the stream. */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "load.h"
#include "wire.h"

#define EVENTS 256

struct client {
    int socket;
    bool asking; /* a question is on its way */
    uint64_t number;
    uint64_t left; /* exchanges */
    size_t received;
    double due; /* when it should have started */
    struct wire_question question;
    unsigned char answer[ANSWER_BYTES];
};

static const struct exchange_plan *plan;
static struct client *clients;
static struct client **unused; /* a stack of those that have no connection */
static size_t unused_count;
static uint64_t started, parked, finished;
static double start;
static double *latencies;

static void end(struct client *client) {
    close(client->socket);
    finished++;
    unused[unused_count++] = client;
}

static void ask(struct client *client) {
    client->question = wire_ask(plan->exchanges == 0 ? WIRE_ONCE : WIRE_STAY,
                                client->number + (client->left << 32), 0);
    client->received = 0;
    if (send(client->socket, &client->question, QUESTION_BYTES, MSG_NOSIGNAL) != QUESTION_BYTES) {
        load_fail(client->number, "send");
    }
    client->asking = true;
}

static void on_answer(struct client *client) {
    unsigned char expected[ANSWER_BYTES];
    wire_answer(&client->question, expected);
    if (memcmp(expected, client->answer, ANSWER_BYTES) != 0) {
        errno = 0;
        load_fail(client->number, "a wrong answer");
    }
    if (plan->exchanges == 0) {
        latencies[client->number] = load_now() - client->due;
    } else if (--client->left == 0) {
        end(client);
    } else if (plan->hold) {
        client->asking = false;
        parked++;
    } else {
        ask(client);
    }
}

static void receive(struct client *client) {
    for (;;) {
        unsigned char surplus;
        bool full = client->received == ANSWER_BYTES;
        ssize_t got = recv(client->socket, full ? &surplus : client->answer + client->received,
                           full ? 1 : ANSWER_BYTES - client->received, 0);
        if (got < 0) {
            if (errno == EAGAIN) {
                return;
            }
            load_fail(client->number, "recv");
        }
        errno = 0;
        if (full && got == 0 && plan->exchanges == 0) {
            end(client);
            return;
        }
        if (full || got == 0) {
            load_fail(client->number, got > 0 ? "a byte too much"
                                      : full  ? "closed too early"
                                              : "the answer is too short");
        }
        client->received += (size_t)got;
        if (client->received == ANSWER_BYTES) {
            on_answer(client);
            if (plan->exchanges != 0) {
                return; /* nothing more can be there yet; when it is, there is an event */
            }
        }
    }
}

static double due(uint64_t number) {
    return plan->rate == 0 ? start : start + (double)number / plan->rate;
}

static void open_due(void) {
    uint64_t ahead = plan->hold ? plan->at_once + parked : plan->connections;
    for (double now = load_now();
         started < plan->connections && started < ahead && unused_count > 0 && due(started) <= now;
         started++) {
        struct client *client = unused[--unused_count];
        *client = (struct client){.number = started,
                                  .left = plan->exchanges,
                                  .due = plan->rate == 0 ? load_now() : due(started)};
        client->socket = load_connect(EPOLLIN | EPOLLOUT | EPOLLET, client);
    }
}

static void wait_for_release(void) {
    char line[16];
    puts("holding");
    fflush(stdout);
    while (read(STDIN_FILENO, line, sizeof(line)) > 0) {
    }
    for (uint64_t i = 0; i < plan->connections; i++) {
        ask(&clients[i]);
    }
}

static int wait_events(struct epoll_event *events) {
    double wait = STALL_MS / 1e3;
    if (plan->rate != 0 && started < plan->connections && unused_count > 0) {
        wait = due(started) - load_now();
        wait = wait < 0 ? 0 : wait;
    }
    struct timespec time = {.tv_sec = (time_t)wait,
                            .tv_nsec = (long)((wait - (double)(time_t)wait) * 1e9)};
    int count = epoll_pwait2(load_set(), events, EVENTS, &time, NULL);
    if (count == 0 && wait >= STALL_MS / 1e3) {
        errno = 0;
        load_fail(finished, "nothing moves any more");
    }
    return count;
}

static int by_size(const void *a, const void *b) {
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

static double percentile_us(double share) {
    return latencies[(size_t)((double)(plan->connections - 1) * share)] * 1e6;
}

void load_exchange(const struct exchange_plan *given) {
    plan = given;
    size_t slots = plan->hold ? plan->connections : plan->at_once;
    clients = calloc(slots, sizeof(*clients));
    unused = calloc(slots, sizeof(struct client *));
    latencies = calloc(plan->connections, sizeof(*latencies));
    if (clients == NULL || unused == NULL || latencies == NULL) {
        load_fail(0, "memory");
    }
    for (unused_count = 0; unused_count < slots; unused_count++) {
        unused[unused_count] = &clients[unused_count];
    }
    (void)prctl(PR_SET_TIMERSLACK, 1); /* refused: starts are a little late, and that is counted */
    start = load_now();
    while (finished < plan->connections) {
        struct epoll_event events[EVENTS];
        open_due();
        int count = wait_events(events);
        for (int i = 0; i < count; i++) {
            struct client *client = events[i].data.ptr;
            if (client->asking || (events[i].events & (EPOLLERR | EPOLLHUP)) != 0) {
                receive(client);
            } else if ((events[i].events & EPOLLOUT) != 0 && client->left == plan->exchanges) {
                ask(client);
            }
        }
        if (plan->hold && parked == plan->connections) {
            wait_for_release();
            parked = 0;
        }
    }
    double seconds = load_now() - start;
    if (plan->exchanges == 0) {
        qsort(latencies, plan->connections, sizeof(*latencies), by_size);
        printf("{\"seconds\": %.6f, \"p50\": %.1f, \"p99\": %.1f, \"p999\": %.1f, \"max\": %.1f}\n",
               seconds, percentile_us(0.5), percentile_us(0.99), percentile_us(0.999),
               percentile_us(1));
    } else {
        printf("{\"seconds\": %.6f}\n", seconds);
    }
    free(latencies);
    free(unused);
    free(clients);
}
