/* Conductor: what control.c offers to its closest parts, those that build and publish. Control. */
#ifndef CONTROL_CONDUCTOR_H
#define CONTROL_CONDUCTOR_H

#include "control/control.h"

/* The loop has ended: workers are stopped or being stopped, and nothing new may begin. */
bool conductor_is_finishing(struct control *control);
/* A build or a script job is under way: what is asked for now waits, and may find other versions.
 */
bool conductor_is_busy(struct control *control);
/* The script job under way has come to its end: answers who asked, begins what waits next. */
void conductor_job_done(struct control *control, bool ok, const char *text);

#endif
