/*
 * server/jobs_internal.h: the kinds of jobs_kinds.c, for jobs_repo.c, which starts their workers. arg is a struct
 * wr_app.
 */
#ifndef WR_SERVER_JOBS_INTERNAL_H
#define WR_SERVER_JOBS_INTERNAL_H

#include "core/store/jobs.h"

extern const struct wr_job_kind wr_repo_job_kinds[];
extern const size_t wr_repo_job_kind_count;

#endif
