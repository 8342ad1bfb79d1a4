#include "gateway/training/curve.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define WIDTH      760
#define LEFT       64 /* of the diagrams: numbers stand before it */
#define RIGHT      736
#define TOP        64  /* of the first diagram: title and legend stand above */
#define PANEL      180 /* height of a diagram */
#define GAP        44  /* between two, and below the last: numbers and names */
#define TICKS      5   /* about so many lines across a diagram */
#define TICKS_MAX  50  /* of a diagram, whatever its range */
#define POINTS_MAX 600 /* of a line: about one a pixel; more are averaged */

/* What is drawn of a point. */
typedef double value_of(const struct history_point *point);

static double loss_of(const struct history_point *point)
{
    return point->loss;
}

static double accuracy_of(const struct history_point *point)
{
    return point->accuracy;
}

struct line {
    const char *name, *color;
    double width;
    bool dots;                          /* mark each point */
    const struct history_point *points; /* by step */
    size_t len;                         /* how many */
};

#define LINES 3

struct panel {
    FILE *out;                /* the picture */
    value_of *value;          /* of a point */
    double low, high, tick;   /* of its axis, and between two lines across */
    double steps, epochs;     /* the other axis: from 0 to these */
    int top;                  /* in the picture */
    struct line lines[LINES]; /* what is in it */
};

void curve_text_set(struct curve_text *self, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    vsnprintf(self->title, sizeof self->title, format, values);
    va_end(values);
}

/* --- axes ------------------------------------------------------------------------------------- */
/* 1, 2 or 5 times a power of ten: about `range` / TICKS. */
static double tick_step(double range)
{
    double rough = range / TICKS, power = pow(10, floor(log10(rough)));
    double part = rough / power;
    return power * (part < 1.5 ? 1 : part < 3.5 ? 2 : part < 7.5 ? 5 : 10);
}

static double x_of(const struct panel *self, double step)
{
    return LEFT + (RIGHT - LEFT) * step / self->steps;
}

static double y_of(const struct panel *self, double value)
{
    return self->top + PANEL * (1 - (value - self->low) / (self->high - self->low));
}

/* The range of all that is drawn, in whole ticks; false when nothing is. */
static bool find_range(struct panel *self)
{
    double low = INFINITY, high = -INFINITY;
    for (size_t l = 0; l < LINES; l++) {
        for (size_t i = 0; i < self->lines[l].len; i++) {
            double value = self->value(&self->lines[l].points[i]);
            if (!isfinite(value))
                continue;
            low = fmin(low, value);
            high = fmax(high, value);
        }
    }
    if (low > high)
        return false;
    if (high - low < 1e-9 + 1e-9 * fabs(high)) {
        low -= 0.05;
        high += 0.05;
    }
    self->tick = tick_step(high - low);
    self->low = floor(low / self->tick) * self->tick;
    self->high = ceil(high / self->tick) * self->tick;
    return true;
}

static void draw_values(const struct panel *self)
{
    int digits = self->tick >= 1 ? 0 : (int)ceil(-log10(self->tick) - 1e-9);
    for (int i = 0; i < TICKS_MAX && self->low + (i - 0.5) * self->tick < self->high; i++) {
        double value = self->low + i * self->tick, y = y_of(self, value);
        fprintf(self->out,
                "<path d=\"M%d %.1fH%d\" stroke=\"#e2e5ea\"/>"
                "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\">%.*f</text>\n",
                LEFT, y, RIGHT, LEFT - 8, y + 4, digits, value);
    }
}

static void draw_epochs(const struct panel *self)
{
    double step = fmax(self->epochs > 1 ? tick_step(self->epochs) : 1, 1);
    for (int i = 0; i < TICKS_MAX && i * step < self->epochs + 1e-9; i++) {
        double x = x_of(self, i * step * self->steps / self->epochs);
        fprintf(self->out,
                "<path d=\"M%.1f %dv5\" stroke=\"#8a93a0\"/>"
                "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\">%.0f</text>\n",
                x, self->top + PANEL, x, self->top + PANEL + 18, i * step);
    }
    fprintf(self->out, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\">epoch</text>\n", RIGHT,
            self->top + PANEL + 32);
}

/* --- lines ------------------------------------------------------------------------------------ */
/* Means of `each` points at a time, so that there are not more than the picture shows. */
static void draw_line(const struct panel *self, const struct line *line)
{
    size_t each = 1 + line->len / POINTS_MAX, drawn = 0;
    fprintf(self->out, "<path fill=\"none\" stroke=\"%s\" stroke-width=\"%.1f\" d=\"", line->color,
            line->width);
    for (size_t i = 0; i < line->len; i += each) {
        double step = 0, value = 0;
        size_t n = 0;
        for (size_t k = i; k < MIN(i + each, line->len); k++) {
            if (!isfinite(self->value(&line->points[k])))
                continue;
            step += line->points[k].step;
            value += self->value(&line->points[k]);
            n++;
        }
        if (n > 0)
            fprintf(self->out, "%c%.1f %.1f", drawn++ ? 'L' : 'M', x_of(self, step / (double)n),
                    y_of(self, value / (double)n));
    }
    fputs(drawn ? "\"/>\n" : "M0 0\"/>\n", self->out);
    for (size_t i = 0; line->dots && i < line->len; i += each)
        if (isfinite(self->value(&line->points[i])))
            fprintf(self->out, "<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3\" fill=\"%s\"/>\n",
                    x_of(self, line->points[i].step), y_of(self, self->value(&line->points[i])),
                    line->color);
}

static void draw_panel(struct panel *self, const char *name)
{
    fprintf(self->out, "<text x=\"%d\" y=\"%d\" font-weight=\"bold\">%s</text>\n", LEFT,
            self->top - 8, name);
    draw_values(self);
    draw_epochs(self);
    fprintf(self->out, "<path d=\"M%d %dV%dH%d\" fill=\"none\" stroke=\"#8a93a0\"/>\n", LEFT,
            self->top, self->top + PANEL, RIGHT);
    for (size_t l = 0; l < LINES; l++)
        draw_line(self, &self->lines[l]);
}

/* --- the picture ------------------------------------------------------------------------------ */
static void draw_legend(const struct panel *self)
{
    int x = RIGHT;
    for (size_t l = LINES; l > 0; l--) {
        const struct line *line = &self->lines[l - 1];
        if (line->len == 0)
            continue;
        fprintf(self->out,
                "<text x=\"%d\" y=\"28\">%s</text>"
                "<path d=\"M%d 24h18\" stroke=\"%s\" stroke-width=\"3\"/>\n",
                x - 84, line->name, x - 108, line->color);
        x -= 124;
    }
}

static int panels_of(struct panel *loss, struct panel *accuracy)
{
    bool has_loss = find_range(loss), has_accuracy = find_range(accuracy);
    accuracy->top = has_loss ? TOP + PANEL + GAP + 12 : TOP;
    return has_loss + has_accuracy;
}

static void draw(FILE *out, const struct history *history, const struct curve_text *text)
{
    struct panel loss = {
        .out = out,
        .value = loss_of,
        .top = TOP,
        .steps = history->steps > 0 ? history->steps : 1,
        .epochs = history->epochs_all > 0 ? history->epochs_all : 1,
        .lines = {
            {"while training", "#a9c3e4", 1.5, false, history->points, history->points_len},
            {"whole epoch", "#1f5fa8", 2, true, history->epochs, history->epochs_len},
            {"validation", "#d9661f", 2, true, history->validations, history->validations_len}}};
    struct panel accuracy = loss;
    accuracy.value = accuracy_of;
    int panels = panels_of(&loss, &accuracy);
    int height = TOP + MAX(panels, 1) * (PANEL + GAP) + (panels > 1 ? 12 : 0);
    fprintf(out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %d\" width=\"%d\" "
            "height=\"%d\" role=\"img\" aria-label=\"Training of %s\" font-family=\"sans-serif\" "
            "font-size=\"12\" fill=\"#333a45\">\n<rect width=\"%d\" height=\"%d\" "
            "fill=\"#fff\"/>\n<text x=\"%d\" y=\"28\" font-size=\"15\" "
            "font-weight=\"bold\">%s</text>\n",
            WIDTH, height, WIDTH, height, text->title, WIDTH, height, LEFT, text->title);
    draw_legend(&loss);
    if (panels == 0)
        fprintf(out, "<text x=\"%d\" y=\"%d\">nothing has been measured yet</text>\n", LEFT,
                TOP + PANEL / 2);
    if (loss.low < loss.high)
        draw_panel(&loss, "loss");
    if (accuracy.low < accuracy.high)
        draw_panel(&accuracy, "accuracy");
    fputs("</svg>\n", out);
}

char *curve_svg(const struct history *history, const struct curve_text *text)
{
    char *svg = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&svg, &size);
    if (!out)
        panic("no memory");
    draw(out, history, text);
    fclose(out);
    return svg;
}

enum status curve_of_file(char **svg, const char *path, int64_t bytes,
                          const struct curve_text *text, struct error *why)
{
    struct history history;
    enum status s = history_read(&history, path, bytes, why);
    if (s == STATUS_OK)
        *svg = curve_svg(&history, text);
    history_free(&history);
    return s;
}
