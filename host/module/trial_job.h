/* One request to the trial helper, packed for sending. [loop thread] */
#ifndef MODULE_TRIAL_JOB_H
#define MODULE_TRIAL_JOB_H

#include "module/trial_wire.h"

typedef struct TrialJob TrialJob;
struct TrialJob {
    TrialJob *next;
    TrialWireRequest wire;
    Image *image, *from;          /* from: NULL, or the one before */
    Reading *before;              /* of a reading: NULL, or the one to begin from */
    int payload;                  /* a sealed memfd */
    int view_fds[STATE_VIEW_FDS]; /* the pin's, not owned */
    int feed;                     /* a descriptor of its own, or -1 */
    int tries;
    TrialDone *done;
    TrialReadDone *read_done; /* exactly one of the two */
    void *user;
};

/* Copies all but the view's descriptors and takes a reference to the image. */
int trial_job_new(const TrialRequest *request, uint64_t id, TrialJob **ret, Error *err);
int trial_job_new_read(Image *image, Reading *before, uint64_t id, TrialJob **ret, Error *err);
void trial_job_free(TrialJob *job);

/* Sends it with its descriptors. 0, or KEEL_EIO. */
int trial_job_send(const TrialJob *job, int fd, Error *err);

/* Reads one answer; strings are ended and numbers put into their bounds. `*ret_fd` is what came
 * with it, or -1. KEEL_EPARTIAL: none yet; KEEL_EIO: the helper is gone; KEEL_EPROTOCOL: not one of
 * this build's. */
int trial_answer_read(int fd, TrialWireResult *ret, int *ret_fd, Error *err);

#endif
