/* Inside fault/: a point of time in words, without locale, time zones or locks. Async-signal-safe.
 */
#ifndef FAULT_REPORT_TIME_H
#define FAULT_REPORT_TIME_H

#include <stdint.h>

#include "fault/text.h"

enum { REPORT_TIME_BYTES = 32 };

/* "2026-11-22 05:38:13.123" in UTC, with these separators inside the date, after it and in the time
 * of the day. Days to date after Howard Hinnant's civil_from_days: eras of 400 years that begin in
 * March. */
static inline void report_time(int64_t wall_ns, const char *date, const char *between,
                               const char *clock, char ret_text[REPORT_TIME_BYTES])
{
    int64_t ms = wall_ns > 0 ? wall_ns / 1000000 : 0;
    int64_t days = ms / 86400000 + 719468, second = ms / 1000 % 86400;
    int64_t era = days / 146097, day_of_era = days % 146097;
    int64_t year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t month = (5 * day + 2) / 153; /* from March */
    day = day - (153 * month + 2) / 5 + 1;
    month = month < 10 ? month + 3 : month - 9;
    int64_t year = era * 400 + year_of_era + (month <= 2);

    Text text = text_on(ret_text, REPORT_TIME_BYTES);
    text_number(&text, (uint64_t)year, 10, 4);
    text_put(&text, date);
    text_number(&text, (uint64_t)month, 10, 2);
    text_put(&text, date);
    text_number(&text, (uint64_t)day, 10, 2);
    text_put(&text, between);
    text_number(&text, (uint64_t)(second / 3600), 10, 2);
    text_put(&text, clock);
    text_number(&text, (uint64_t)(second / 60 % 60), 10, 2);
    text_put(&text, clock);
    text_number(&text, (uint64_t)(second % 60), 10, 2);
    text_put(&text, ".");
    text_number(&text, (uint64_t)(ms % 1000), 10, 3);
}

#endif
