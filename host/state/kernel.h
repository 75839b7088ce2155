/* Kernel interfaces newer than the headers of Debian 12 (Linux 6.1): PAGEMAP_SCAN and the
 * userfaultfd features of asynchronous write-protect. From the kernel's uapi of 6.7,
 * include/uapi/linux/{fs,userfaultfd}.h. */
#ifndef STATE_KERNEL_H
#define STATE_KERNEL_H

#include <stdint.h>
#include <linux/ioctl.h>
#include <linux/userfaultfd.h>

typedef struct PageRegion {
    uint64_t start, end, categories;
} PageRegion;

typedef struct PagemapScan {
    uint64_t size, flags, start, end, walk_end, vec, vec_len, max_pages;
    uint64_t category_inverted, category_mask, category_anyof_mask, return_mask;
} PagemapScan;

#define PAGEMAP_SCAN_IOCTL _IOWR('f', 16, PagemapScan)
#define SCAN_WRITTEN (UINT64_C(1) << 1)
#define SCAN_FLAG_WP (UINT64_C(1) << 0)
#define SCAN_FLAG_CHECK_WPASYNC (UINT64_C(1) << 1)

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif
#define TRACK_FEATURE_WP_HUGETLBFS_SHMEM (UINT64_C(1) << 12)
#define TRACK_FEATURE_WP_UNPOPULATED (UINT64_C(1) << 13)
#define TRACK_FEATURE_WP_ASYNC (UINT64_C(1) << 15)

#endif
