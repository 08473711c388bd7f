{% macro share(column) %}round({{ column }} / sum({{ column }}) over (), 6){% endmacro %}
