/* A configuration file from disk. Thread: main, or control for a reload. */
#ifndef LB4_CONF_FILE_H
#define LB4_CONF_FILE_H

#include <sys/stat.h>
#include <sys/types.h>

#include "lb4/conf/model.h"
#include "lb4/conf/report.h"

enum { CONF_FILE_MAX_BYTES = 16 << 20 }; /* chosen: 100,000 servers are some 4 MiB */

/* Read a regular file into memory as a whole, and again (a few times) should it change meanwhile,
 * then conf_read_text(). Returns 0, or -EINVAL: the errors, of open(2) and read(2) too, are in the
 * report. */
int conf_read_file(const char *name, struct conf *conf, struct conf_report *report);

/* A regular file as a whole, read again (a few times) should it change meanwhile: *ret_text is the
 * caller's to free. Returns how many bytes, or -errno; -EISDIR, -ENOTSUP: not a regular file,
 * -EFBIG: more than max_bytes, -EAGAIN: it keeps changing. */
ssize_t conf_load(const char *name, off_t max_bytes, char **ret_text, struct stat *ret_status);
/* What is to be said of such an error. */
const char *conf_load_error_text(int error);

#endif
