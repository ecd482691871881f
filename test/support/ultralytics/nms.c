/* Non-maximum suppression of boxes [count, 4] xyxy in the order of their scores, by its documentation: the better one
   stays where two overlap by more than the threshold. Returns how many stay; `kept` are their places in `order`. */

#include <stdint.h>
#include <string.h>

int64_t nms(const float *boxes, const int64_t *order, int64_t count, float threshold, uint8_t *gone, int64_t *kept) {
    int64_t left = 0;
    memset(gone, 0, count);
    for (int64_t a = 0; a < count; a++) {
        if (gone[a]) continue;
        const float *i = boxes + 4 * order[a];
        const float area = (i[2] - i[0]) * (i[3] - i[1]);
        kept[left++] = order[a];
        for (int64_t b = a + 1; b < count; b++) {
            if (gone[b]) continue;
            const float *j = boxes + 4 * order[b];
            const float x0 = i[0] > j[0] ? i[0] : j[0], y0 = i[1] > j[1] ? i[1] : j[1];
            const float x1 = i[2] < j[2] ? i[2] : j[2], y1 = i[3] < j[3] ? i[3] : j[3];
            const float wide = x1 > x0 ? x1 - x0 : 0, high = y1 > y0 ? y1 - y0 : 0, common = wide * high;
            /* Divided, as torchvision does: a box that is turned inside out has an area below zero. */
            if (common / (area + (j[2] - j[0]) * (j[3] - j[1]) - common) > threshold) gone[b] = 1;
        }
    }
    return left;
}
