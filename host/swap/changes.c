/* What a candidate is made of: has its image read beside the trial, in a helper of its own so that
 * neither waits for the other. Engine thread. Owns the questions that are under way. Never refuses:
 * what can't be read is only not known. */
#include <stdlib.h>

#include "base/log.h"
#include "swap/group.h"

/* Outlives the attempt, which a group may leave out meanwhile. */
typedef struct Question {
    Group *group;
    Image *image;
} Question;

static void answered(Reading *reading, const Error *err, void *user)
{
    Question *question = user;
    Group *group = question->group;
    if (reading)
        image_set_reading(question->image, reading);
    else
        log_debug("swap", "%s could not be read: %s", question->image->path, err->text);
    AttemptThen *then = NULL;
    Attempt *waits = NULL;
    for (uint32_t i = 0; i < group->count; i++) {
        Attempt *attempt = &group->attempts[i];
        if (!attempt->asked || attempt->image != question->image)
            continue;
        attempt->asked = 0;
        then = attempt->then;
        attempt->then = NULL;
        waits = attempt;
        if (!reading)
            snprintf(attempt->unread, sizeof attempt->unread, "%.*s",
                     (int)sizeof attempt->unread - 1, err->text);
    }
    image_unref(question->image);
    free(question);
    if (then)
        then(waits);
    group_unref(group);
}

void changes_ask(Attempt *attempt)
{
    Trial *reader = attempt->group->swapper->reader;
    Error err = {0};
    if (!reader || attempt->asked || image_reading(attempt->image))
        return;
    Question *question = malloc(sizeof *question);
    if (!question)
        return;
    *question = (Question){attempt->group, image_ref(attempt->image)};
    if (trial_read(reader, attempt->image, answered, question, &err)) {
        log_debug("swap", "%s could not be read: %s", attempt->image->path, err.text);
        image_unref(question->image);
        free(question);
        return;
    }
    group_ref(attempt->group);
    attempt->asked = 1;
}

void changes_await(Attempt *attempt, AttemptThen *then)
{
    if (attempt->asked)
        attempt->then = then;
    else
        then(attempt);
}
