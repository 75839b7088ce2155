/* The command that asks a host's screen for its picture. Engine thread; the screen is asked at a
 * boundary and answers from the thread that wrote the file. */
#include <stdlib.h>
#include <string.h>

#include "control/commands.h"

typedef struct ShotAnswer {
    BoundaryErrand errand;
    Host *host;
    Request *request;
    Error err;
    char path[];
} ShotAnswer;

static void shot_reply(void *user)
{
    ShotAnswer *answer = user;
    if (answer->err.code)
        request_fail(answer->request, answer->err.code, "%s", answer->err.text);
    else
        request_reply(answer->request, json_pack("{s:s}", "file", answer->path));
    free(answer);
}

static void shot_over(const Error *err, void *user)
{
    ShotAnswer *answer = user;
    answer->err = *err;
    if (loop_send(answer->host->loop, &answer->errand.back, shot_reply, answer))
        free(answer);
}

static void shoot_at_boundary(void *user)
{
    ShotAnswer *answer = user;
    Host *host = answer->host;
    Error err = {0};
    if (!host->shoot)
        err_set(&err, KEEL_EUNSUPPORTED,
                "this host has no window: run it without --headless, or, where there is no "
                "display, with SDL_VIDEODRIVER=offscreen in its environment");
    else
        host->shoot(host->shoot_user, answer->path, shot_over, answer, &err);
    if (err.code)
        shot_over(&err, answer);
}

void control_screenshot(Request *request, void *user)
{
    Host *host = user;
    const char *path = json_string_value(json_object_get(request_args(request), "file"));
    if (!path || path[0] != '/') {
        request_fail(request, KEEL_EINVAL, "screenshot takes file, an absolute path");
        return;
    }
    size_t bytes = strlen(path) + 1;
    ShotAnswer *answer = calloc(1, sizeof *answer + bytes);
    if (!answer) {
        request_fail(request, KEEL_ENOMEM, "no memory for the picture's path");
        return;
    }
    answer->host = host;
    answer->request = request;
    memcpy(answer->path, path, bytes);
    boundary_send(&host->boundary, &answer->errand.there, shoot_at_boundary, answer);
}
