/* Answers: what the admin socket says, as text or JSON. Control thread. */
#ifndef CONTROL_ANSWERS_H
#define CONTROL_ANSWERS_H

#include "base/text.h"
#include "control/commands.h"
#include "control/control.h"
#include "control/inquiry.h"

/* Appends to `out`; out->failed: out of memory. False: the request was refused, `out` says why.
 * Not for the commands that are answered later (reload, session list, session kill). */
bool answer_now(struct control *control, const struct request *request, bool json, struct text *out)
    __attribute__((warn_unused_result));

void answer_sessions(const struct inquiry *inquiry, bool json, struct text *out);
/* One sentence: {"message": ...} or {"error": ...}. It may have several lines. */
void answer_message(bool ok, const char *message, bool json, struct text *out);

#endif
