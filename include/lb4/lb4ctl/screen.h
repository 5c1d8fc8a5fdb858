/* Lines of text for a terminal, or for a file: cells are clipped and padded to columns, and never
 * bring bytes that a terminal would obey. Only lines that have changed are sent.
 *
 * Sequences: those of a VT100 (cursor position, erase, reverse, bold), and colours where wanted. */
#ifndef LB4_LB4CTL_SCREEN_H
#define LB4_LB4CTL_SCREEN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum screen_style { SCREEN_PLAIN, SCREEN_BOLD, SCREEN_REVERSE, SCREEN_RED, SCREEN_YELLOW };

enum { SCREEN_SIDE_MAX = 10000 };

struct screen_line {
    char *bytes; /* malloc; no NUL */
    size_t n_bytes;
    size_t cap;
    size_t n_columns; /* that are written */
};

struct screen {
    size_t width;
    size_t height;
    bool is_utf8;              /* the locale's characters are (setlocale(3) was called) */
    bool is_coloured;          /* else red and yellow are plain */
    bool is_styled;            /* else nothing is: for a file */
    bool is_fresh;             /* nothing that was shown stands any more */
    size_t at;                 /* the present line */
    struct screen_line *lines; /* height */
    struct screen_line *shown;
};

/* All zero but is_* at the begin. */
void screen_fini(struct screen *screen);

/* Begin a frame of 1..SCREEN_SIDE_MAX each way; at its first line. Returns 0 or -ENOMEM: nothing
 * can be written then. */
int screen_begin(struct screen *screen, size_t width, size_t height);

/* A cell of so many columns. What is beyond the end of the line is left out. */
void screen_left(struct screen *screen, enum screen_style style, const char *text, size_t width);
void screen_right(struct screen *screen, enum screen_style style, const char *text, size_t width);
/* Go to the next line; true: there is one. */
bool screen_next(struct screen *screen);

/* Columns that a text takes. */
size_t screen_width(const struct screen *screen, const char *text);

/* Bytes that bring a terminal from what it shows to this frame; malloc, or NULL. */
char *screen_update(struct screen *screen, size_t *ret_n);
/* The lines up to the present one, without blanks at their ends. */
void screen_print(const struct screen *screen, FILE *stream);

#endif
