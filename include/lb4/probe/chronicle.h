/* The changes of a server's health into the prober's history (shared/history.h). A part of the
 * prober, of its thread alone. */
#ifndef LB4_PROBE_CHRONICLE_H
#define LB4_PROBE_CHRONICLE_H

#include <stdint.h>

#include "lb4/probe/probe.h"
#include "lb4/shared/history.h"

/* What it is now is known, or somebody else tells of it. */
void chronicle_begin(struct probe *probe, uint64_t now_ns);

/* Append an entry if its health (PICK_NEW, PICK_DOWN, PICK_SUSPECT, none of them: the first that
 * fits) is not what it was; the reason is the server's note. None for one in maintenance, and none
 * that it waits for its first probe: who brought it there tells of it. `now_ns` may be that of the
 * turn, a little before the last change. */
void chronicle_note(struct history *history, struct probe *probe, uint64_t now_ns);

#endif
