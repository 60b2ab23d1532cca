# The table of what has passed in guests, in docs/compatibility.md. Sourced by ../guest, never run.

table_page=$top/docs/compatibility.md
table_begin='<!-- guests: begin -->'
table_end='<!-- guests: end -->'

# print_table: how many tests of each suite have passed in its last run in each guest, and what was left out.
print_table() {
    local kernel runtime suite head='| suite |' rule='|---|' row
    for kernel in "${all_kernels[@]}"; do
        for runtime in "${all_runtimes[@]}"; do
            head+=" $kernel, $runtime |" rule+='---:|'
        done
    done
    printf '%s\n' "$head" "$rule"
    while read -r suite; do
        row="| $suite |"
        for kernel in "${all_kernels[@]}"; do
            for runtime in "${all_runtimes[@]}"; do
                row+=" $(cat "$results/$kernel-$runtime/$suite" 2>/dev/null || echo –) |"
            done
        done
        echo "$row"
    done < <(suites)
    for runtime in "${all_runtimes[@]}"; do
        make_plan "$runtime"
        # shellcheck disable=SC2016 # Markdown's, not the shell's
        [ ${#plan_left_out[@]} = 0 ] || printf '\nLeft out with %s:%s.\n' "$runtime" "$(printf ' `%s`' "${plan_left_out[@]}")"
    done
}

# check_table: whether the page has this table; HOLDFAST_WRITE_DOCS=1 puts it there.
check_table() {
    local there table
    table=$(print_table)
    if [ -n "${HOLDFAST_WRITE_DOCS:-}" ]; then
        { sed "/^$table_begin\$/q" "$table_page"; echo "$table"; sed -n "/^$table_end\$/,\$p" "$table_page"; } >"$table_page.new"
        mv "$table_page.new" "$table_page"
    fi
    there=$(sed -n "/^$table_begin\$/,/^$table_end\$/p" "$table_page" | sed '1d;$d')
    [ "$there" = "$table" ] || {
        diff <(echo "$there") <(echo "$table") >&2
        die "${table_page#"$top"/} says something else of what passes in guests: HOLDFAST_WRITE_DOCS=1 writes it anew"
    }
}
