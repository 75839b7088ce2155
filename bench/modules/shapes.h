/* What bench_migrate fills a state with, and what it is migrated to. */
#include <stdint.h>

#if VARIANT == 1
struct flat { /* 24 bytes to 28: a field in the middle */
    float x, y, vx, vy;
    uint32_t colour, id;
};
struct node { /* grows within its place */
    struct node *next, *other;
    int32_t value;
};
struct leaf { /* outgrows it */
    struct leaf *next, *other;
    int32_t value;
};
#else
struct flat {
    float x, y, mass, vx, vy;
    uint32_t colour, id;
};
struct node {
    int64_t value;
    struct node *next, *other;
};
struct leaf {
    struct leaf *next;
    double weight[4];
    struct leaf *other;
    int32_t value;
};
#endif
