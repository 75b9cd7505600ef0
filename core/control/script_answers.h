/* What is told of script versions: `script list` and `script show`. Control. */
#ifndef CONTROL_SCRIPT_ANSWERS_H
#define CONTROL_SCRIPT_ANSWERS_H

#include "control/commands.h"
#include "control/control.h"
#include "control/report.h"

/* Pools, their versions, and how a shadow compares. False: out of memory (out->failed). */
bool answer_script_list(struct control *control, const struct request *request, bool json,
                        struct text *out);
/* The source of one version. False: refused (said), or out of memory (out->failed). */
bool answer_script_show(struct control *control, const struct request *request, bool json,
                        struct text *out);

#endif
