/* Prometheus' text exposition format, version 0.0.4: families of samples with labels, appended to a
 * reply. All samples of a family follow its head. Thread: control. */
#ifndef LB4_CONTROL_EXPOSITION_H
#define LB4_CONTROL_EXPOSITION_H

#include <stddef.h>
#include <stdint.h>

#include "lb4/control/reply.h"
#include "lb4/shared/histogram.h"

/* type: "counter", "gauge" or "histogram". */
void exposition_family(struct reply *reply, const char *name, const char *type, const char *help);

/* Put `name="value"` behind the labels in `labels`, with \, " and line ends escaped; one that does
 * not fit into `cap` bytes with its NUL is left out. */
void exposition_label(char *labels, size_t cap, const char *name, const char *value);

/* `labels` may be "". The `more` are written behind them as they are, "" or `direction="in"`. */
void exposition_sample(struct reply *reply, const char *name, const char *labels, const char *more,
                       uint64_t value);

/* All samples of one histogram. */
void exposition_histogram(struct reply *reply, const char *name, const char *labels,
                          const struct histogram_scale *scale, const struct histogram_sum *sum);

#endif
