/* What limits this lb4, and the command that lifts it: `doctor` for operators, and lines of the
 * log at the start. The facts are read anew each time (doctor_facts.h); what they mean is in
 * doctor_findings.h. */
#ifndef LB4_CONTROL_DOCTOR_H
#define LB4_CONTROL_DOCTOR_H

#include "lb4/control/command.h"

/* The ceiling of connections in the first line, then each finding, the worst first; in JSON one
 * object. It fails for lack of memory alone: findings are an answer, not an error. */
enum command_result doctor_run(struct command_call *call);

/* The ceiling as information, and a warning for each finding that is one. Thread: control. */
void doctor_log(const struct snapshot_from *from);

#endif
