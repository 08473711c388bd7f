{% snapshot customers_history %}
{{ config(target_schema='analytics', unique_key='id', strategy='check', check_cols=['email', 'country']) }}
select id, email, country from {{ source('app', 'customers') }}
{% endsnapshot %}
