#include "tests/unit/git_fixture.h"

#include <sys/stat.h>
#include <unistd.h>

static int dir_of(const struct fx *f)
{
	int fd = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static void replaces_whole_files(void **state)
{
	struct fx *f = *state;
	WR_AUTO_FD int dir = dir_of(f);
	WR_AUTO_MEM char *text = NULL;
	WR_AUTO_S(wr_buf) names = WR_BUF_INIT(4096);
	size_t len;

	assert_int_equal(wr_file_read(&text, &len, dir, "state", 100, &f->err), WR_E_NOT_THERE);
	assert_ok(wr_file_replace(dir, "state", WR_S("one"), &f->err));
	assert_ok(wr_file_replace(dir, "state", WR_S("second"), &f->err));
	assert_ok(wr_file_read(&text, &len, dir, "state", 6, &f->err));
	assert_int_equal(len, 6);
	assert_string_equal(text, "second");
	assert_int_equal(wr_file_read(&text, &len, dir, "state", 5, &f->err), WR_E_TOO_LARGE);
	assert_int_equal(wr_file_read(&text, &len, dir, "data", 5, &f->err), WR_E_INTERNAL);
	sh_out(f, &names, "ls | grep -c state");
	assert_string_equal(names.ptr, "1\n");
}

static void a_failed_replacement_leaves_nothing(void **state)
{
	struct fx *f = *state;
	WR_AUTO_FD int dir = dir_of(f);
	WR_AUTO_S(wr_buf) names = WR_BUF_INIT(4096);

	/* A folder in the place of the file: the rename fails. */
	sh(f, "mkdir -p state/x");
	assert_int_equal(wr_file_replace(dir, "state", WR_S("new"), &f->err), WR_E_INTERNAL);
	sh_out(f, &names, "ls");
	assert_string_equal(names.ptr, "data\nstate\n");
	assert_int_equal(wr_file_create(dir, "state", WR_S("x"), &f->err), WR_E_INTERNAL);
}

static void makes_folders(void **state)
{
	struct fx *f = *state;
	char path[128];
	struct stat st;

	snprintf(path, sizeof(path), "%s/a/b//c", f->dir);
	assert_ok(wr_file_mkdirs(path, &f->err));
	assert_ok(wr_file_mkdirs(path, &f->err));
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	snprintf(path, sizeof(path), "%s/file", f->dir);
	sh(f, "touch file");
	snprintf(path, sizeof(path), "%s/file/x", f->dir);
	assert_int_equal(wr_file_mkdirs(path, &f->err), WR_E_INTERNAL);
}

static void removes_without_following_links(void **state)
{
	struct fx *f = *state;
	WR_AUTO_FD int dir = dir_of(f);

	sh(f, "mkdir -p keep t/a/b && touch keep/me t/a/b/c t/x && ln -s ../keep t/link && ln -s ../../keep/me t/a/l");
	assert_ok(wr_file_remove(dir, "t", &f->err));
	assert_ok(wr_file_remove(dir, "t", &f->err));
	sh(f, "test ! -e t && test -e keep/me");
	sh(f, "ln -s keep link");
	assert_ok(wr_file_remove(dir, "link", &f->err));
	sh(f, "test ! -L link && test -e keep/me");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(replaces_whole_files, fx_setup, fx_teardown),
		cmocka_unit_test_setup_teardown(a_failed_replacement_leaves_nothing, fx_setup, fx_teardown),
		cmocka_unit_test_setup_teardown(makes_folders, fx_setup, fx_teardown),
		cmocka_unit_test_setup_teardown(removes_without_following_links, fx_setup, fx_teardown),
	};

	return cmocka_run_group_tests_name("git_file", tests, NULL, NULL);
}
