/* Where the log goes, as the configuration wants it (base/log_sink.h): at the start, at a reload,
 * and when its file is to be opened anew. Thread: control. */
#ifndef LB4_CONTROL_LOGGING_H
#define LB4_CONTROL_LOGGING_H

#include "lb4/base/log.h"
#include "lb4/conf/model.h"
#include "lb4/control/privileges.h"

enum { LOGGING_ERROR_MAX = CONF_FILE_MAX + 128 }; /* with the NUL */

/* At the start, while this process may be root and `ids` is whom it is going to be: open what `log`
 * names, but do not use it yet. A file is opened and made as that user; where the user may not,
 * root does it and gives a new file to the user, but follows no link anywhere in the path (ELOOP),
 * and takes no file of another user or with another name (EPERM). Returns 0, or -errno, told.
 */
int logging_prepare(const struct conf_log *log, const struct privileges_ids *ids);
/* Use what was opened, as the user that we are now, who should be able to open the file anew: a
 * warning says so if not. The log's writer runs. */
void logging_start(const struct conf_log *log);
/* Close what was opened and not used. */
void logging_end(void);

/* At a reload: open what `after` names, as we are. *ret is NULL if nothing has changed. Returns 0,
 * or -errno with a sentence. */
int logging_open_changed(const struct conf_log *before, const struct conf_log *after,
                         struct log_sink **ret, char reterr[static LOGGING_ERROR_MAX]);
/* From now on the log goes there. The last line where it went before tells so. NULL: nothing. */
void logging_use(const struct conf_log *log, struct log_sink *sink);

/* Open the file anew. If that fails, a line says so, and the log goes on in the old one. */
void logging_reopen(const struct conf_log *log);

#endif
