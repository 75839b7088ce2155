/* From a module's fault to its next frame: the frame undone, the state of the frame before, the
 * locks probed. And what a call through the ABI costs beside a bare pointer call. */
#include "paced.h"

enum { FAULTS = 200, CALM = 120, CALLS = 2000000 };

static void faults(uint64_t state_bytes, uint32_t tier, const char *tier_name)
{
    static Paced paced;
    static Samples back;
    paced_open(&paced, 20000, state_bytes, 1, tier, KEEL_TRIAL_OFF);
    back.count = 0;
    paced_frames(&paced, 1000);
    for (int i = 0; i < FAULTS; i++) {
        paced.pace.fault = 1;
        keel_host_frame(paced.host);
        uint64_t faulted = paced.pace.count;
        paced_frames(&paced, CALM);
        int64_t next = paced.pace.marks[faulted % PACE_MARKS].at_ns;
        samples_add(&back, (double)(next - paced.pace.fault_ns) / 1e3);
    }
    char metric[96];
    snprintf(metric, sizeof metric, "fault to next frame, state %llu MiB, %s",
             (unsigned long long)(state_bytes >> 20), tier_name);
    bench_report("fault", metric, "us", &back, 0);
    paced_close(&paced);
}

static void calls(void)
{
    static Paced paced;
    Samples table = {0}, pointer = {0};
    paced_open(&paced, 20000, 0, 1, KEEL_TIER_AUTO, KEEL_TRIAL_OFF);
    for (int i = 0; i < 50; i++) {
        paced.pace.calls = CALLS;
        keel_host_frame(paced.host);
        samples_add(&table, (double)paced.pace.through_table_ns / CALLS);
        samples_add(&pointer, (double)paced.pace.through_pointer_ns / CALLS);
    }
    bench_report("fault", "service call through the ABI", "ns", &table, samples_median(&pointer));
    paced_close(&paced);
}

int main(void)
{
    faults(0, KEEL_TIER_AUTO, "auto");
    faults(UINT64_C(64) << 20, KEEL_TIER_TRACK, "track");
    faults(UINT64_C(4) << 20, KEEL_TIER_COPY, "copy");
    calls();
    return 0;
}
