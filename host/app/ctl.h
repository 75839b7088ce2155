/* Inside `keel ctl`: what its commands share. Main thread. */
#ifndef APP_CTL_H
#define APP_CTL_H

#include "control/client.h"

enum { DONE = 0, REFUSED = 1, TROUBLE = 2 }; /* exit statuses */

typedef struct Ctl {
    const char *target; /* name or path; NULL: default */
    const char *file, *state, *slot;
    int json, retry, same, follow, write_back, frames, replay, foreign;
    long lines;
    double timeout;
    Client *client;
} Ctl;

/* Says what was wrong in the use. Returns TROUBLE. */
int ctl_wrong(const char *format, const char *what);

/* Steals `args`. DONE with the result, or the exit status when the error was said. */
int ctl_ask(Ctl *ctl, const char *cmd, json_t *args, json_t **ret_result);

void ctl_print_json(const json_t *value);

/* ---- ctl_live.c; each is given what stands behind its name ---- */

int ctl_screenshot(Ctl *ctl, int count, char **args);
int ctl_frame_step(Ctl *ctl, int count, char **args);
int ctl_rewind(Ctl *ctl, int count, char **args);
int ctl_snapshot(Ctl *ctl, int count, char **args); /* ctl_state.c */
int ctl_tweak(Ctl *ctl, int count, char **args);

#endif
