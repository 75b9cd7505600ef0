/* Load of bulk streams, down (the server sends) or up (we send, the server looks at the bytes and
 * answers only when all were right). */
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "load.h"
#include "wire.h"

struct stream {
    int socket;
    bool asked;
    struct wire_question question;
    uint64_t moved;
    size_t answered;
    unsigned char answer[ANSWER_BYTES];
};

static unsigned char block[BLOCK_BYTES];
static uint64_t finished;

static void watch(struct stream *stream, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = stream};
    if (epoll_ctl(load_set(), EPOLL_CTL_MOD, stream->socket, &event) != 0) {
        load_fail(stream->question.number, "epoll_ctl");
    }
}

static void ask(struct stream *stream) {
    if (send(stream->socket, &stream->question, QUESTION_BYTES, MSG_NOSIGNAL) != QUESTION_BYTES) {
        load_fail(stream->question.number, "send");
    }
    stream->asked = true;
    if (stream->question.kind == WIRE_DOWN) {
        watch(stream, EPOLLIN);
    }
}

static void give(struct stream *stream) {
    uint64_t left = stream->question.amount - stream->moved;
    ssize_t sent = send(stream->socket, wire_bulk(stream->question.number, stream->moved),
                        left < BLOCK_BYTES ? (size_t)left : (size_t)BLOCK_BYTES, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN) {
        load_fail(stream->question.number, "send");
    }
    stream->moved += sent > 0 ? (uint64_t)sent : 0;
    if (stream->moved == stream->question.amount) {
        watch(stream, EPOLLIN);
    }
}

static void end(struct stream *stream, bool right, const char *what) {
    if (!right) {
        errno = 0;
        load_fail(stream->question.number, what);
    }
    close(stream->socket);
    finished++;
}

static void take(struct stream *stream) {
    ssize_t got = recv(stream->socket, block, sizeof(block), 0);
    if (got < 0) {
        if (errno != EAGAIN) {
            load_fail(stream->question.number, "recv");
        }
    } else if (got == 0) {
        end(stream, stream->moved == stream->question.amount, "bytes are missing");
    } else if ((uint64_t)got > stream->question.amount - stream->moved) {
        end(stream, false, "a byte too much");
    } else if (memcmp(block, wire_bulk(stream->question.number, stream->moved), (size_t)got) != 0) {
        end(stream, false, "wrong bytes");
    } else {
        stream->moved += (uint64_t)got;
    }
}

static void take_answer(struct stream *stream) {
    unsigned char expected[ANSWER_BYTES];
    wire_answer(&stream->question, expected);
    ssize_t got = recv(stream->socket, block, sizeof(block), 0);
    if (got < 0) {
        if (errno != EAGAIN) {
            load_fail(stream->question.number, "recv");
        }
    } else if (got == 0) {
        end(stream, stream->answered == ANSWER_BYTES, "the server did not get what was sent");
    } else if ((size_t)got > ANSWER_BYTES - stream->answered ||
               memcmp(block, expected + stream->answered, (size_t)got) != 0) {
        end(stream, false, "a wrong answer");
    } else {
        stream->answered += (size_t)got;
    }
}

static void on_event(struct stream *stream) {
    if (!stream->asked) {
        ask(stream);
    } else if (stream->question.kind == WIRE_DOWN) {
        take(stream);
    } else if (stream->moved < stream->question.amount) {
        give(stream);
    } else {
        take_answer(stream);
    }
}

void load_bulk(uint64_t bytes, uint64_t connections, int up) {
    struct stream *streams = calloc(connections, sizeof(*streams));
    if (streams == NULL) {
        load_fail(0, "memory");
    }
    double start = load_now();
    for (uint64_t i = 0; i < connections; i++) {
        streams[i].question = wire_ask(up ? WIRE_UP : WIRE_DOWN, i, bytes / connections);
        streams[i].socket = load_connect(EPOLLOUT, &streams[i]);
    }
    while (finished < connections) {
        struct epoll_event events[64];
        int count = epoll_wait(load_set(), events, 64, STALL_MS);
        if (count == 0) {
            errno = 0;
            load_fail(finished, "nothing moves any more");
        }
        for (int i = 0; i < count; i++) {
            on_event(events[i].data.ptr);
        }
    }
    printf("{\"seconds\": %.6f}\n", load_now() - start);
    free(streams);
}
