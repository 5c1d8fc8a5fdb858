#include "lb4/lb4ctl/screen.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>

/* --- bytes ------------------------------------------------------------------------------------ */

static void append(struct screen_line *line, const char *bytes, size_t n)
{
    if (n == 0)
        return;
    if (line->n_bytes + n > line->cap) {
        size_t cap = 2 * (line->n_bytes + n) + 64;
        char *grown = realloc(line->bytes, cap);

        if (!grown)
            return;
        line->bytes = grown;
        line->cap = cap;
    }
    memcpy(line->bytes + line->n_bytes, bytes, n);
    line->n_bytes += n;
}

static void append_text(struct screen_line *line, const char *text)
{
    append(line, text, strlen(text));
}

static void append_blanks(struct screen_line *line, size_t n)
{
    for (size_t i = 0; i < n; i++)
        append(line, " ", 1);
}

/* --- characters ------------------------------------------------------------------------------- */

/* What is shown of the next character of a text. */
struct glyph {
    const char *bytes;
    size_t n_bytes;
    size_t n_columns; /* 0 = it is left out */
};

/* Control characters, those of two bytes too, and what has no width are left out; what is no
 * character of this locale becomes a question mark. Returns how many bytes of the text it is. */
static size_t next_wide(const char *text, struct glyph *ret)
{
    mbstate_t state = {0};
    wchar_t wide;
    size_t n = mbrtowc(&wide, text, strlen(text), &state);
    int width;

    if (n == (size_t)-1 || n == (size_t)-2 || n == 0) {
        *ret = (struct glyph){"?", 1, 1};
        return 1;
    }
    width = wcwidth(wide);
    *ret = (struct glyph){text, n, width > 0 ? (size_t)width : 0};
    return n;
}

static size_t next_glyph(const struct screen *screen, const char *text, struct glyph *ret)
{
    unsigned char byte = (unsigned char)*text;

    if (byte >= 0x80 && screen->is_utf8)
        return next_wide(text, ret);
    *ret = (struct glyph){byte >= 0x80 ? "?" : text, 1, byte < 0x20 || byte == 0x7f ? 0 : 1};
    return 1;
}

size_t screen_width(const struct screen *screen, const char *text)
{
    struct glyph glyph;
    size_t n = 0;

    while (*text) {
        text += next_glyph(screen, text, &glyph);
        n += glyph.n_columns;
    }
    return n;
}

/* At most so many columns, of which the last says that there was more. Returns how many it took. */
static size_t append_clipped(const struct screen *screen, struct screen_line *line,
                             const char *text, size_t width)
{
    bool is_cut = screen_width(screen, text) > width;
    size_t room = is_cut ? width - 1 : width;
    struct glyph glyph;
    size_t n = 0;

    while (*text) {
        text += next_glyph(screen, text, &glyph);
        if (n + glyph.n_columns > room)
            break;
        if (glyph.n_columns > 0)
            append(line, glyph.bytes, glyph.n_bytes);
        n += glyph.n_columns;
    }
    if (is_cut)
        append_text(line, screen->is_utf8 ? "\xe2\x80\xa6" : "~");
    return n + is_cut;
}

/* --- cells ------------------------------------------------------------------------------------ */

static const char *style_on(const struct screen *screen, enum screen_style style)
{
    if (!screen->is_styled)
        return "";
    switch (style) {
    case SCREEN_PLAIN:
        return "";
    case SCREEN_BOLD:
        return "\033[1m";
    case SCREEN_REVERSE:
        return "\033[7m";
    case SCREEN_RED:
        return screen->is_coloured ? "\033[31m" : "";
    case SCREEN_YELLOW:
        return screen->is_coloured ? "\033[33m" : "";
    }
    return "";
}

static void write_cell(struct screen *screen, enum screen_style style, const char *text,
                       size_t width, bool is_right)
{
    struct screen_line *line = &screen->lines[screen->at];
    const char *on = style_on(screen, style);
    size_t left = screen->width - line->n_columns;
    size_t n = screen_width(screen, text);
    size_t n_before;

    width = width < left ? width : left;
    if (width == 0)
        return;
    n_before = is_right && n < width ? width - n : 0;
    append_text(line, on);
    append_blanks(line, n_before);
    n = append_clipped(screen, line, text, width);
    append_blanks(line, width - n_before - n);
    if (*on)
        append_text(line, "\033[0m");
    line->n_columns += width;
}

void screen_left(struct screen *screen, enum screen_style style, const char *text, size_t width)
{
    write_cell(screen, style, text, width, false);
}

void screen_right(struct screen *screen, enum screen_style style, const char *text, size_t width)
{
    write_cell(screen, style, text, width, true);
}

bool screen_next(struct screen *screen)
{
    if (screen->at + 1 >= screen->height)
        return false;
    screen->at++;
    return true;
}

/* --- frames ----------------------------------------------------------------------------------- */

static void free_lines(struct screen_line *lines, size_t n)
{
    for (size_t i = 0; lines && i < n; i++)
        free(lines[i].bytes);
    free(lines);
}

void screen_fini(struct screen *screen)
{
    free_lines(screen->lines, screen->height);
    free_lines(screen->shown, screen->height);
    screen->lines = NULL;
    screen->shown = NULL;
    screen->width = 0;
    screen->height = 0;
}

static int resize(struct screen *screen, size_t width, size_t height)
{
    screen_fini(screen);
    screen->lines = calloc(height, sizeof(*screen->lines));
    screen->shown = calloc(height, sizeof(*screen->shown));
    if (!screen->lines || !screen->shown) {
        screen_fini(screen);
        return -ENOMEM;
    }
    screen->width = width;
    screen->height = height;
    screen->is_fresh = true;
    return 0;
}

int screen_begin(struct screen *screen, size_t width, size_t height)
{
    int error = 0;

    if (width != screen->width || height != screen->height || !screen->lines)
        error = resize(screen, width, height);
    for (size_t i = 0; i < screen->height; i++) {
        screen->lines[i].n_bytes = 0;
        screen->lines[i].n_columns = 0;
    }
    screen->at = 0;
    return error;
}

static bool is_same(const struct screen_line *a, const struct screen_line *b)
{
    return a->n_bytes == b->n_bytes &&
           (a->n_bytes == 0 || memcmp(a->bytes, b->bytes, a->n_bytes) == 0);
}

/* A full line is not erased behind its end: there is none, and terminals that wait with the cursor
 * on the last column would erase that. */
static void append_line(struct screen *screen, size_t index, struct screen_line *out)
{
    const struct screen_line *line = &screen->lines[index];
    char position[40];

    snprintf(position, sizeof(position), "\033[%zu;1H", index + 1);
    append_text(out, position);
    append(out, line->n_bytes ? line->bytes : "", line->n_bytes);
    if (line->n_columns < screen->width)
        append_text(out, "\033[K");
}

char *screen_update(struct screen *screen, size_t *ret_n)
{
    struct screen_line out = {0};
    struct screen_line *kept = screen->shown;

    append_text(&out, screen->is_fresh ? "\033[0m\033[H\033[2J" : "");
    for (size_t i = 0; i < screen->height; i++)
        if (screen->is_fresh || !is_same(&screen->lines[i], &screen->shown[i]))
            append_line(screen, i, &out);
    screen->shown = screen->lines;
    screen->lines = kept;
    screen->is_fresh = false;
    *ret_n = out.n_bytes;
    return out.bytes;
}

void screen_print(const struct screen *screen, FILE *stream)
{
    for (size_t i = 0; i <= screen->at && i < screen->height; i++) {
        const struct screen_line *line = &screen->lines[i];
        size_t n = line->n_bytes;

        while (n > 0 && line->bytes[n - 1] == ' ')
            n--;
        fwrite(n ? line->bytes : "", 1, n, stream);
        fputc('\n', stream);
    }
}
