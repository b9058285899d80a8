package collect

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestPlacesAreSorted(t *testing.T) {
	t.Parallel()
	p, err := newPlaces(t.TempDir())
	require.NoError(t, err)
	defer p.close()
	const n = 10_007
	for i := int64(0); i < n; i++ {
		index := i
		if i > n/2 {
			index = (i * 7919) % n // also replaces
		}
		require.NoError(t, p.set(index, index*100, index*100+index+1))
	}
	require.NoError(t, p.set(3*n, 5, 6), "with a gap")
	require.NoError(t, p.set(7, 1, 2))
	for range 2 {
		last := int64(-1)
		require.NoError(t, p.each(func(index, from int64, size int) error {
			assert.Greater(t, index, last)
			last = index
			switch index {
			case 7:
				assert.Equal(t, []int64{1, 1}, []int64{from, int64(size)})
			case 3 * n:
				assert.Equal(t, []int64{5, 1}, []int64{from, int64(size)})
			default:
				assert.Equal(t, []int64{index * 100, index + 1}, []int64{from, int64(size)})
			}
			return nil
		}))
		assert.EqualValues(t, 3*n, last)
	}
	require.Error(t, p.set(0, 0, 1<<32))
}

// tableRows makes the test binary write a table with so many rows and print its largest memory.
const tableRows = "BATCHAGENT_TEST_TABLE_ROWS"

// Writing a table takes memory for a part of its rows. BATCHAGENT_TEST_TABLE_ROWS=100000,1000000 measures these numbers.
func TestTableMemory(t *testing.T) {
	if rows, err := strconv.Atoi(os.Getenv(tableRows)); err == nil {
		writeLongTable(t, rows)
		return
	}
	if testing.Short() || runtime.GOOS != "linux" {
		t.Skip("writes large tables, and reads their memory from /proc")
	}
	numbers := strings.Split(os.Getenv(tableRows), ",")
	if len(numbers) != 2 {
		numbers = []string{"20000", "60000"}
	}
	var peaks []int
	for _, rows := range numbers {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestTableMemory$")
		cmd.Env = append(os.Environ(), tableRows+"="+rows)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
		peak := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(out)
		require.NotNil(t, peak, string(out))
		kilobytes, err := strconv.Atoi(string(peak[1]))
		require.NoError(t, err)
		t.Logf("%s rows: %d MB", rows, kilobytes/1000)
		peaks = append(peaks, kilobytes)
	}
	assert.Less(t, peaks[1], peaks[0]+40_000)
}

func writeLongTable(t *testing.T, rows int) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "r.parquet")
	record, err := os.Create(RecordOf(path))
	require.NoError(t, err)
	w := bufio.NewWriter(record)
	for i := range rows {
		r := rowResult(int64(i*7919%rows), fmt.Sprint("T-", i), fmt.Sprintf(`{"ticket":"T-%d","text":%q}`, i, strings.Repeat(fmt.Sprint("late order ", i, " "), 40)),
			fmt.Sprintf(`{"topic":"late order %d","count":%d,"tags":["a","b%d"]}`, i, i, i))
		_, _ = w.Write(append(marshalled(t, r), '\n'))
	}
	require.NoError(t, w.Flush())
	require.NoError(t, record.Close())
	file, err := OpenFile(path, Parquet{}, testBatch, MaxIndex)
	require.NoError(t, err)
	require.EqualValues(t, rows, file.Count())
	require.NoError(t, file.Close())
	status, err := os.ReadFile("/proc/self/status")
	require.NoError(t, err)
	fmt.Println(string(status))
}
