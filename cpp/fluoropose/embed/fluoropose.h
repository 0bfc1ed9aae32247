/* The C interface to a running `fluoropose serve`: write frames into its ring, read poses from its ring.
 *
 * Plain C99, for C, C++, C#, LabVIEW and whatever can call C; README.md beside this file says how. Both rings are files
 * in shared memory (/dev/shm on Linux) that `fluoropose serve` makes. Nothing here waits for the service or holds it
 * up.
 *
 * Every function that can fail returns a status: 0 or a positive number is no error, a negative one is, and
 * fluoropose_problem() then says in words what was found and what was expected. A handle must not be used by two
 * threads at the same time; different handles may be.
 *
 * Stable from version 1 on: functions and fields are added, none is changed or removed. Structures begin with their own
 * size, which the caller fills in, so that programs and libraries of different versions understand each other.
 * Lengths are millimetres, angles radians, times seconds unless a name says otherwise.
 */
#ifndef FLUOROPOSE_EMBED_FLUOROPOSE_H_
#define FLUOROPOSE_EMBED_FLUOROPOSE_H_

#include <stdint.h>

#if defined(__GNUC__)
#define FLUOROPOSE_API __attribute__((visibility("default")))
#else
#define FLUOROPOSE_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define FLUOROPOSE_API_VERSION 1

enum {
  FLUOROPOSE_OK = 0,
  FLUOROPOSE_TIMEOUT = 1, /* no pose came in time */
  FLUOROPOSE_ENDED = 2,   /* the service has ended and everything was read; it may come back to the same ring */
  FLUOROPOSE_ERROR_ARGUMENT = -1,
  FLUOROPOSE_ERROR_FILE = -2,    /* no such file, or none that can be mapped */
  FLUOROPOSE_ERROR_FORMAT = -3,  /* no ring, or a damaged one */
  FLUOROPOSE_ERROR_VERSION = -4, /* a ring of another version */
  FLUOROPOSE_ERROR_LAYOUT = -5,  /* a ring for frames of another size or depth */
  FLUOROPOSE_ERROR_BUSY = -6,    /* another program writes the ring */
  FLUOROPOSE_ERROR_REPLACED = -7 /* another file has taken the ring's name: close and open again */
};

enum {                          /* what the tracker did with a frame pair */
       FLUOROPOSE_LOST = 0,     /* there is no pose */
       FLUOROPOSE_ACQUIRED = 1, /* found in the whole field: a track begins */
       FLUOROPOSE_TRACKING = 2, /* found where the track led */
       FLUOROPOSE_COASTING = 3  /* nothing believable was seen; the pose is the track's prediction */
};

/* The version of the library that is running, FLUOROPOSE_API_VERSION of its header. */
FLUOROPOSE_API uint32_t fluoropose_api_version(void);

/* What went wrong in this thread's last call that failed; valid until its next one. Never NULL. */
FLUOROPOSE_API const char* fluoropose_problem(void);

/* --- frames in ---------------------------------------------------------------------------------------------------- */

typedef struct fluoropose_layout {
  uint32_t struct_size; /* sizeof(fluoropose_layout) */
  uint32_t width_px, height_px;
  uint32_t bits;  /* that carry signal, 1 to 16; up to 8 are stored in one byte per pixel, more in two */
  uint32_t slots; /* frames of both views together that the ring holds; 0 where it does not matter */
} fluoropose_layout;

typedef struct fluoropose_frames fluoropose_frames;

/* Opens the ring of frames `path` (UTF-8) to write it; there can be one writer at a time.
 *
 * layout NULL takes the ring that is there as it is. With a layout, a ring of other frames is an error, and where there
 * is no ring one is made (of 32 slots, if their number does not matter). */
FLUOROPOSE_API int32_t fluoropose_frames_open(const char* path, const fluoropose_layout* layout,
                                              fluoropose_frames** frames);

/* Tells what frames the ring holds. */
FLUOROPOSE_API int32_t fluoropose_frames_layout(const fluoropose_frames* frames, fluoropose_layout* layout);

/* Writes a frame; it counts as arrived when this is called.
 *
 * view: 0 or 1. number: as the cameras count; frames of equal number are a pair. time_s: by the cameras' clock.
 * pixels: `bytes` bytes, row by row without gaps, little-endian: width * height, twice that beyond 8 bits. */
FLUOROPOSE_API int32_t fluoropose_frames_write(fluoropose_frames* frames, uint32_t view, uint64_t number, double time_s,
                                               const void* pixels, uint64_t bytes);

/* Lets the ring go. finished: nonzero when no more frames will come, which ends `fluoropose stream`; `fluoropose serve`
 * waits for the next program in any case. NULL is allowed. */
FLUOROPOSE_API void fluoropose_frames_close(fluoropose_frames* frames, int32_t finished);

/* --- poses out ---------------------------------------------------------------------------------------------------- */

typedef struct fluoropose_pose {
  uint32_t struct_size; /* sizeof(fluoropose_pose) */
  uint32_t reserved;
  uint64_t number;            /* of the pair */
  double time_s;              /* when it was taken, by the cameras' clock */
  uint64_t arrived_ns;        /* when the last byte of both frames was in: CLOCK_MONOTONIC */
  double latency_ms;          /* from then to the pose */
  double quality;             /* 0 to 1; 0 where the pose is no measurement */
  double world_from_bone[16]; /* 4 x 4, row by row, mm; NaN without a pose */
  double quaternion[4];       /* its rotation, w first */
  double covariance[36];      /* 6 x 6 of rotation (rad) and translation (mm), world axes */
  double rate[6];             /* angular velocity (rad/s), velocity of the bone's origin (mm/s), world axes */
  uint32_t phase;             /* FLUOROPOSE_LOST ... FLUOROPOSE_COASTING */
  uint32_t session;           /* of the frames: counted up with every program that brings some */
  uint32_t landmarks;         /* that were used */
  uint32_t reserved_too;
  char reason[128]; /* why there is no measurement; UTF-8, ends with a zero byte */
} fluoropose_pose;

typedef struct fluoropose_poses fluoropose_poses;

/* Opens the ring of poses `path` (UTF-8) and begins with the next pose. Any number of programs may read. */
FLUOROPOSE_API int32_t fluoropose_poses_open(const char* path, fluoropose_poses** poses);

/* Takes the next pose, and waits up to timeout_s (0: not at all) for it: FLUOROPOSE_OK, _TIMEOUT or _ENDED. */
FLUOROPOSE_API int32_t fluoropose_poses_next(fluoropose_poses* poses, double timeout_s, fluoropose_pose* pose);

/* Takes the newest pose and leaves out those before it: FLUOROPOSE_OK, or FLUOROPOSE_TIMEOUT where none is new. */
FLUOROPOSE_API int32_t fluoropose_poses_latest(fluoropose_poses* poses, fluoropose_pose* pose);

/* fluoropose_poses_next for languages that would rather have no structures: an array of numbers, which are
 * number, time_s, latency_ms, quality, phase, session, landmarks, then world_from_bone row by row. */
#define FLUOROPOSE_VALUES 23
FLUOROPOSE_API int32_t fluoropose_poses_next_values(fluoropose_poses* poses, double timeout_s,
                                                    double values[FLUOROPOSE_VALUES]);

/* How many poses were overwritten before they were read. */
FLUOROPOSE_API uint64_t fluoropose_poses_overtaken(const fluoropose_poses* poses);

/* Lets the ring go. NULL is allowed. */
FLUOROPOSE_API void fluoropose_poses_close(fluoropose_poses* poses);

#ifdef __cplusplus
}
#endif

#endif /* FLUOROPOSE_EMBED_FLUOROPOSE_H_ */
